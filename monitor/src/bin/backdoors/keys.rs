//! `backdoors keys`.

use crate::ask::{print, print_json};
use anyhow::{Context, bail};
use backdoors_rdma::handshake::{Certificate, Identity};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a key and a certificate for a target or a monitor.
    #[command(after_help = "\
Examples:
  backdoors keys new --name web1 --dir /etc/backdoors")]
    New {
        /// Name of the node.
        #[arg(long)]
        name: String,
        /// Folder for NAME.key, which stays on the node, and NAME.crt, which its peers need.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the certificates of a folder, and which of them have their key there.
    #[command(after_help = "\
Examples:
  backdoors keys list --dir /etc/backdoors")]
    List {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a peer's certificate: it is put aside as NAME.crt.revoked, and nobody takes it for good any more.
    #[command(after_help = "\
Examples:
  backdoors keys revoke --name watch2 --dir /etc/backdoors")]
    Revoke {
        /// Name of the certificate's file, without .crt.
        #[arg(long)]
        name: String,
        /// Its folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Replace a node's key: make the next one beside it, and put that in its place when all peers know it.
    #[command(after_help = "\
Examples:
  backdoors keys roll --name web1 --dir /etc/backdoors
  backdoors keys roll --name web1 --dir /etc/backdoors --finish  # when all peers know the next certificate")]
    Roll {
        /// Name of the node.
        #[arg(long)]
        name: String,
        /// Its folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Put the next key in the place of the present one, which is kept as NAME.old.
        #[arg(long)]
        finish: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (told, json) = match &arguments.command {
        Command::New { name, dir, json } => (new(name, dir)?, json),
        Command::List { dir, json } => return list(dir, *json).map(|()| ExitCode::SUCCESS),
        Command::Revoke { name, dir, json } => (revoke(name, dir)?, json),
        Command::Roll { name, dir, finish: false, json } => (roll(name, dir)?, json),
        Command::Roll { name, dir, finish: true, json } => (finish(name, dir)?, json),
    };
    if *json {
        print_json(&told)?;
    } else {
        print(&told.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was done with a certificate.
#[derive(Serialize)]
struct Told {
    /// Where it is.
    certificate: PathBuf,
    /// Where its key is, if that is on this node.
    key: Option<PathBuf>,
    fingerprint: String,
    /// For people, with what is to be done next.
    #[serde(skip)]
    text: String,
}

fn new(name: &str, dir: &Path) -> anyhow::Result<Told> {
    fs::create_dir_all(dir).with_context(|| not_writable(dir))?;
    let identity = Identity::generate(name)?;
    identity.save(dir).with_context(|| never_overwritten(name, dir))?;
    let [key, certificate] = ["key", "crt"].map(|extension| dir.join(format!("{name}.{extension}")));
    let text = format!(
        "{}: the key; keep it on this node\n{}: the certificate; give it to the peers\n",
        key.display(),
        certificate.display()
    );
    let fingerprint = identity.certificate().fingerprint().to_string();
    Ok(Told { certificate, key: Some(key), fingerprint, text })
}

fn never_overwritten(name: &str, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "no key is made; one that is there already is never overwritten: `backdoors keys roll --name {name} --dir {dir}` replaces it"
    )
}

fn not_writable(dir: &Path) -> String {
    format!("{} cannot be written; ask as root, or name another folder with --dir", dir.display())
}

/// A certificate of a folder. Dates are not told, because nobody goes by them: a machine in trouble may have lost its clock.
#[derive(Serialize)]
pub struct Line {
    name: String,
    fingerprint: Option<String>,
    private_key: bool,
    problem: Option<String>,
}

/// The certificates of a folder.
pub fn certificates(dir: &Path) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let entries = fs::read_dir(dir)
        .with_context(|| format!("reading {}; name the folder of the keys with --dir", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let is_certificate = path.extension().is_some_and(|extension| extension == "crt");
        let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_certificate) else {
            continue;
        };
        let private_key = path.with_file_name(format!("{name}.key")).exists();
        let certificate = Certificate::load(&path);
        let own = private_key.then(|| Identity::load(dir, name).err()).flatten();
        let problem = certificate.as_ref().err().or(own.as_ref()).map(ToString::to_string);
        let fingerprint = certificate.ok().map(|certificate| certificate.fingerprint().to_string());
        lines.push(Line { name: name.to_owned(), fingerprint, private_key, problem });
    }
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(lines)
}

fn list(dir: &Path, json: bool) -> anyhow::Result<()> {
    let lines = certificates(dir)?;
    if json {
        return print_json(&lines);
    }
    let mut text = String::new();
    for Line { name, fingerprint, private_key, problem } in lines {
        let whose = if private_key { "own key" } else { "a peer's" };
        let what = problem.or(fingerprint).unwrap_or_default();
        text.push_str(&format!("{name:<24} {whose:<8} {what}\n"));
    }
    print(&text)
}

fn revoke(name: &str, dir: &Path) -> anyhow::Result<Told> {
    let path = dir.join(format!("{name}.crt"));
    let there_are =
        || format!("`backdoors keys list --dir {}` shows what certificates there are", dir.display());
    let fingerprint = Certificate::load(&path).with_context(there_are)?.fingerprint().to_string();
    let aside = Certificate::revoked(&path);
    fs::rename(&path, &aside).with_context(|| not_writable(dir))?;
    let text = format!(
        "{}: {fingerprint}, revoked\nOn a target it is cut off at once by kill -HUP of backdoors-agent; a monitor must be restarted\n",
        aside.display()
    );
    Ok(Told { certificate: aside, key: None, fingerprint, text })
}

fn next(name: &str) -> String {
    format!("{name}.next")
}

fn roll(name: &str, dir: &Path) -> anyhow::Result<Told> {
    // There must be one to be replaced.
    Identity::load(dir, name)
        .with_context(|| format!("`backdoors keys new --name {name}` makes the first one"))?;
    let next = next(name);
    let identity = Identity::generate(&next)?;
    identity.save(dir).with_context(|| {
        format!("if the next key is there already, end with --finish what was begun, or remove {next}.*")
    })?;
    let [key, certificate] = ["key", "crt"].map(|extension| dir.join(format!("{next}.{extension}")));
    let text = format!(
        "{certificate}: the next certificate; give it to the peers, and have targets accept both:\n  \
         certificate = [\"{name}.crt\", \"{next}.crt\"]   # then: kill -HUP of backdoors-agent\n\
         When all know it: backdoors keys roll --name {name} --dir {dir} --finish\n",
        certificate = certificate.display(),
        dir = dir.display()
    );
    let fingerprint = identity.certificate().fingerprint().to_string();
    Ok(Told { certificate, key: Some(key), fingerprint, text })
}

fn finish(name: &str, dir: &Path) -> anyhow::Result<Told> {
    let (next, old) = (next(name), format!("{name}.old"));
    let before = Identity::load(dir, name)?;
    let after = Identity::load(dir, &next)
        .with_context(|| format!("first make the next key: backdoors keys roll --name {name}"))?;
    let file = |name: &str, extension: &str| dir.join(format!("{name}.{extension}"));
    for extension in ["crt", "key"] {
        if file(&old, extension).exists() {
            bail!(
                "{} is in the way: remove what was rolled over before; nothing was changed",
                file(&old, extension).display()
            );
        }
    }
    // If it is interrupted, nothing is lost: all four files are there, under one name or the other.
    for extension in ["key", "crt"] {
        fs::rename(file(name, extension), file(&old, extension)).with_context(|| not_writable(dir))?;
        fs::rename(file(&next, extension), file(name, extension)).with_context(|| not_writable(dir))?;
    }
    let text = format!(
        "{}: the new key's; restart what uses it\n{}: remove it when that runs, and have the peers forget {}\n",
        file(name, "crt").display(),
        file(&old, "key").display(),
        before.certificate().fingerprint()
    );
    let fingerprint = after.certificate().fingerprint().to_string();
    Ok(Told { certificate: file(name, "crt"), key: Some(file(name, "key")), fingerprint, text })
}

//! The documents, taken at their word: their commands are run, their files are read by the programs they are for, and their links are
//! followed. How a document says what is a command and what is shown of its output: [`script`]; where a file is: [`files`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod lists;
mod markdown;
mod schemas;
mod script;
mod stage;
mod tables;

use lists::{NOT_RUN, NotRun};
use markdown::{Block, Document, documents, root};
use stage::Stage;
use std::collections::BTreeSet;
use std::process::Command;

/// Documents that are played, each by the test below that names it.
const PLAYED: &[&str] = &[
    "README.md",
    "docs/first-cluster.md",
    "docs/operations.md",
    "docs/security.md",
    "docs/configuration.md",
    "docs/external-healers.md",
    "docs/recoverable-applications.md",
];

fn not_run(document: &Document, command: &str) -> Option<&'static NotRun> {
    NOT_RUN.iter().find(|(name, begin, _)| *name == document.name && command.starts_with(begin))
}

/// Does what a document says, in its order.
fn play(name: &str, stage: &mut Stage) {
    assert!(PLAYED.contains(&name), "{name} is not among PLAYED");
    let document = Document::read(name);
    for block in &document.blocks {
        let place = format!("{name}:{}", block.line);
        match block.language.as_str() {
            "console" => {
                for step in script::steps(&document, block).unwrap() {
                    if not_run(&document, &step.command).is_none() {
                        stage.perform(&step).unwrap_or_else(|error| {
                            panic!("{}: `{}` on {}: {error}", step.place, step.command, step.machine)
                        });
                    }
                }
            }
            "toml" | "sh" => {
                if let Some(file) = files::place(&block.text) {
                    stage.put(&file, block).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
            }
            _ => {}
        }
    }
}

/// The files of the README, which others show more of.
fn stage_with_files_of_the_readme() -> Stage {
    let stage = Stage::with_keys();
    for block in Document::read("README.md").blocks.iter().filter(|block| block.language == "toml") {
        stage.put(&files::place(&block.text).unwrap(), block).unwrap();
    }
    stage
}

#[test]
fn the_readme_does_as_it_says() {
    play("README.md", &mut Stage::boot());
}

#[test]
fn a_first_cluster_heals_a_bomb_and_recovers_a_session() {
    play("docs/first-cluster.md", &mut Stage::boot());
}

#[test]
fn what_is_done_every_day_and_now_and_then_is_done_as_it_is_said() {
    let mut stage = Stage::boot();
    play("README.md", &mut stage);
    play("docs/operations.md", &mut stage);
}

#[test]
fn who_is_revoked_is_cut_off_as_it_is_said() {
    let mut stage = Stage::boot();
    play("README.md", &mut stage);
    play("docs/security.md", &mut stage);
}

#[test]
fn what_is_said_of_configurations_is_so() {
    play("docs/configuration.md", &mut stage_with_files_of_the_readme());
}

#[test]
fn the_healer_that_is_shown_runs() {
    let mut stage = stage_with_files_of_the_readme();
    play("docs/external-healers.md", &mut stage);
}

#[test]
fn what_an_application_needs_is_taken_by_the_agent() {
    play("docs/recoverable-applications.md", &mut stage_with_files_of_the_readme());
}

#[test]
fn every_block_of_the_documents_is_of_a_kind_that_a_test_looks_at() {
    for document in documents() {
        for block in &document.blocks {
            if let Err(error) = look_at(&document, block) {
                panic!("{}:{}: {error}", document.name, block.line);
            }
        }
    }
}

fn look_at(document: &Document, block: &Block) -> Result<(), String> {
    let is_played = || match PLAYED.contains(&document.name.as_str()) {
        true => Ok(()),
        false => Err("no test plays this document".to_owned()),
    };
    match block.language.as_str() {
        "console" => {
            let steps = script::steps(document, block)?;
            let nothing_is_run = steps.iter().all(|step| not_run(document, &step.command).is_some());
            if nothing_is_run { Ok(()) } else { is_played() }
        }
        "toml" => {
            files::place(&block.text).ok_or("its first line is no comment with its path")?;
            is_played()
        }
        "sh" if not_run(document, &block.text).is_some() => Ok(()),
        "sh" => {
            files::place(&block.text).ok_or("its first comment has no path")?;
            is_played()
        }
        "json" => serde_json::from_str::<serde_json::Value>(&block.text)
            .map(drop)
            .map_err(|error| error.to_string()),
        // What is shown of programs, and pieces of programs in other languages.
        "text" | "rust" | "c" => Ok(()),
        other => Err(format!("nobody knows what a block of `{other}` is")),
    }
}

#[test]
fn what_is_not_run_is_in_the_documents_and_another_test_that_exists_runs_it() {
    for (name, begin, instead) in NOT_RUN {
        let document = Document::read(name);
        let commands = document.blocks.iter().flat_map(|block| match block.language.as_str() {
            "console" => {
                script::steps(&document, block).unwrap().into_iter().map(|step| step.command).collect()
            }
            "sh" => vec![block.text.clone()],
            _ => Vec::new(),
        });
        let commands: Vec<String> = commands.filter(|command| command.starts_with(begin)).collect();
        assert!(!commands.is_empty(), "no command of {name} begins with `{begin}`");
        let file = instead.split(':').next().unwrap();
        assert!(root().join(file).is_file(), "{instead}: there is no {file}");
        for command in commands.iter().filter(|command| is_own(command)) {
            known_to_its_program(command).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn command_lines_within_the_text_are_known_to_the_programs() {
    let alerts = std::fs::read_to_string(root().join("dashboards/prometheus/alerts.yml")).unwrap();
    let mut documents = documents();
    documents.push(Document::parse("alerts.yml", &alerts.replace("{{ $labels.target }}", "web1")));
    let mut seen = BTreeSet::new();
    for document in documents {
        for code in document.code.iter().filter(|code| is_own(code)) {
            if seen.insert(code.clone()) {
                known_to_its_program(code).unwrap_or_else(|error| panic!("{}: {error}", document.name));
            }
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

fn is_own(command: &str) -> bool {
    ["backdoors ", "backdoors-agent ", "backdoors-nic "].iter().any(|program| command.starts_with(program))
}

/// Asked for help at its end a program has read all words before: it knows them.
fn known_to_its_program(command: &str) -> Result<(), String> {
    // Words that stand for others, and marks of the shell.
    let command = command
        .split(" # ")
        .next()
        .unwrap()
        .replace(['…', '\\'], "")
        .replace("NUMBER", "1")
        .replace("help COMMAND", "");
    let mut words = command.split_whitespace();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_backdoors-demo")).parent().unwrap();
    let program = folder.join(words.next().unwrap());
    let output =
        Command::new(program).args(words).arg("--help").output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("`{command}`: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn links_between_documents_lead_to_files_and_headings_that_exist() {
    let documents = documents();
    let mut followed = 0;
    for document in &documents {
        let folder = root().join(&document.name).parent().unwrap().to_owned();
        for link in document.links.iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(&document.name) } else { folder.join(path) };
            let target = target.canonicalize().unwrap_or_else(|_| panic!("{}: no {link}", document.name));
            if !anchor.is_empty() {
                let name =
                    target.strip_prefix(root().canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned();
                let other = Document::read(&name);
                assert!(other.anchors.iter().any(|one| one == anchor), "{}: no {link}", document.name);
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed} links");
}

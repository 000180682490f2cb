//! The example of a server, killed under real downloads.

use crate::captured::{Group, PORT, pattern, start_with};
use crate::host::{eventually, inside_network};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// It belongs to another package: `cargo build --workspace --bins` makes it.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_backdoors-agent")).with_file_name("backdoors-file-server");
    assert!(program.exists(), "{} is not there: run `cargo build --workspace --bins`", program.display());
    program
}

fn server(root: &Path, socket: &Path) -> Child {
    Command::new(program())
        .args([&format!("127.0.0.1:{PORT}"), root.to_str().unwrap(), "web"])
        .env("BACKDOORS_SERVICES", socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn downloads_survive(service: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (root, socket) = (folder.path().join("root"), folder.path().join("services.sock"));
    std::fs::create_dir(&root).unwrap();
    let bytes = pattern(6 << 20);
    std::fs::write(root.join("file"), &bytes).unwrap();
    let group = Group::enter();
    let host = start_with(&format!("service_socket = '{}'", socket.display()), service, &group);
    let mut running = server(&root, &socket);
    eventually("a server", || std::net::TcpStream::connect(("127.0.0.1", PORT)).ok());
    // The second goes over the connection of the first, and the third is a part of it.
    let url = format!("http://127.0.0.1:{PORT}/file");
    let got: Vec<PathBuf> = ["first", "second", "third"].map(|name| folder.path().join(name)).into();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--retry", "0", "--limit-rate", "8M"]);
    curl.arg("-o").arg(&got[0]).arg(&url).arg("-o").arg(&got[1]).arg(&url);
    curl.args(["--next", "--silent", "--fail", "--range", "1000000-2999999", "-o"]).arg(&got[2]).arg(&url);
    let mut client = curl.spawn().unwrap();
    let length = |index: usize| std::fs::metadata(&got[index]).map_or(0, |metadata| metadata.len());
    for (index, enough) in [(0, 1_000_000), (0, 4_000_000), (1, 100_000), (1, 3_000_000)] {
        eventually("a download to get on", || (length(index) >= enough).then_some(()));
        running.kill().unwrap();
        running.wait().unwrap();
        running = server(&root, &socket);
    }
    assert!(client.wait().unwrap().success());
    assert!(std::fs::read(&got[0]).unwrap() == bytes);
    assert!(std::fs::read(&got[1]).unwrap() == bytes);
    assert!(std::fs::read(&got[2]).unwrap() == bytes[1_000_000..3_000_000]);
    running.kill().unwrap();
    running.wait().unwrap();
    drop(host);
}

#[test]
fn downloads_of_a_browsers_kind_survive_the_file_server() {
    inside_network("files::downloads_of_a_browsers_kind_survive_the_file_server", || downloads_survive(""));
}

#[test]
fn downloads_survive_a_file_server_whose_output_is_generated_again() {
    inside_network("files::downloads_survive_a_file_server_whose_output_is_generated_again", || {
        downloads_survive("output = 'regenerated'");
    });
}

//! The library from C: its header, what it refuses, how it is installed, and the example.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the libraries are that were built along with this test.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().into()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn compile(compiler: &str, source: &Path, into: &Path, options: &[&str]) {
    let libraries = libraries();
    run(Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-o"])
        .arg(into)
        .arg(source)
        .args(options)
        .arg("-I")
        .arg(root().join("include"))
        .arg("-L")
        .arg(&libraries)
        .arg("-lbackdoors_sessions")
        .arg(format!("-Wl,-rpath,{}", libraries.display())));
}

#[test]
fn the_header_says_what_the_library_does() {
    let path = root().join("include/backdoors-sessions.h");
    let made = backdoors_sessions::c_header();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == made, "run `UPDATE_HEADER=1 cargo test -p backdoors-sessions`");
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let listed = run(Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(libraries().join("libbackdoors_sessions.so")));
    let exported: BTreeSet<&str> = listed.lines().collect();
    let header = backdoors_sessions::c_header();
    let before_parameters = header.split('(').filter_map(|text| text.split([' ', '*', '\n']).next_back());
    let declared: BTreeSet<&str> = before_parameters.filter(|name| name.starts_with("backdoors_")).collect();
    assert_eq!(exported, declared);
    assert_eq!(declared.len(), 22);
}

#[test]
fn the_library_carries_neither_nics_nor_tls() {
    // As it is built alone, which the documents ask for.
    let tree = run(Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", env!("CARGO_PKG_NAME")])
        .current_dir(root()));
    assert!(tree.contains("backdoors-rdma "), "{tree}");
    let heavy = ["rustls", "ring", "rcgen", "rdma-mummy-sys"];
    assert!(tree.lines().all(|line| heavy.iter().all(|heavy| !line.starts_with(heavy))), "{tree}");
}

#[test]
fn the_header_is_good_cpp_and_good_twice() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("twice.cpp");
    let text = "#include \"backdoors-sessions.h\"\n#include \"backdoors-sessions.h\"\n\
                int main() { return backdoors_service_attach(nullptr, nullptr) != nullptr; }\n";
    std::fs::write(&source, text).unwrap();
    let program = folder.path().join("twice");
    compile("c++", &source, &program, &["-std=c++11"]);
    run(&mut Command::new(&program));
}

#[test]
fn what_is_misused_in_c_has_its_number_and_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("misused");
    compile("cc", &root().join("tests/c/misused.c"), &program, &["-std=c11"]);
    let output = Command::new(&program).arg(folder.path().join("nobody.sock")).output().unwrap();
    let heard = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{heard}");
    assert!(
        heard.starts_with("backdoors: no agent: sessions are unprotected until one comes, path: "),
        "{heard}"
    );
    assert_eq!(heard.lines().count(), 1, "{heard}");
    let said = String::from_utf8(output.stdout).unwrap();
    let reasons: Vec<&str> = said.lines().collect();
    let no_service = ["Invalid argument: the service may not be NULL"; 4];
    let no_session = ["Invalid argument: the session may not be NULL"; 7];
    let others = [
        "the service's name may not be NULL",
        "\"\" is no name of a service: it has 1 to 48 bytes",
        "\"caf\u{fffd}\" is no name of a service",
        "it has 1 to 48 bytes",
        "Invalid argument: the service listens nowhere yet",
        "Invalid argument: the service listens nowhere yet",
        "Bad file descriptor: the socket is no descriptor",
        "Bad file descriptor: ",
        "Invalid argument: the socket is none of TCP that listens",
        "Invalid argument: the socket is none of TCP that listens",
        "Operation already in progress: the service listens already",
        "Invalid argument: the descriptors may not be NULL",
        "Resource temporarily unavailable: ",
        "Invalid argument: where the session is to be put may not be NULL",
        "Invalid argument: the bytes may not be NULL",
        "Invalid argument: the bytes may not be NULL",
        "Invalid argument: the bytes may not be NULL",
        "Invalid argument: the buffer may not be NULL",
        "Invalid argument: the buffer may not be NULL",
        "Resource temporarily unavailable: ",
    ];
    let expected: Vec<&str> = no_service.into_iter().chain(no_session).chain(others).collect();
    for (reason, expected) in reasons.iter().zip(&expected) {
        assert!(reason.contains(expected), "{reason:?} instead of {expected:?}");
    }
    assert_eq!(reasons.len(), expected.len(), "{said}");
}

/// What `docs/recoverable-applications.md` says of installing, done with a folder of its own as prefix.
fn install(prefix: &Path) {
    let docs = root().join("../../docs/recoverable-applications.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let recipe = docs.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(recipe.contains("pkgconfig"), "{recipe}");
    run(Command::new("sh")
        .args(["-e", "-c", recipe])
        .env("prefix", prefix)
        .env("built", libraries())
        .current_dir(root().join("../..")));
}

#[test]
fn installed_as_the_documents_say_both_libraries_are_found_and_used_by_one_program() {
    let prefix = tempfile::tempdir().unwrap();
    install(prefix.path());
    let source = prefix.path().join("both.c");
    let text = "#include <backdoors.h>\n#include <backdoors-sessions.h>\n#include <stdio.h>\n\
                int main(void) { return puts(backdoors_error()) < 0 || puts(backdoors_session_error()) < 0; }\n";
    std::fs::write(&source, text).unwrap();
    let packages = ["backdoors-application-sensors", "backdoors-sessions"];
    let folder = prefix.path().join("lib/pkgconfig");
    let find = |arguments: &[&str]| {
        run(Command::new("pkg-config").args(arguments).args(packages).env("PKG_CONFIG_PATH", &folder))
    };
    assert_eq!(find(&["--modversion"]), format!("{0}\n{0}\n", env!("CARGO_PKG_VERSION")));
    let options = find(&["--cflags", "--libs"]);
    let program = prefix.path().join("both");
    run(Command::new("cc").arg("-o").arg(&program).arg(&source).args(options.split_whitespace()));
    let said = run(Command::new(&program).env("LD_LIBRARY_PATH", prefix.path().join("lib")));
    assert_eq!(said, "\n\n");
}

/// The example, as a program that is linked with the shared library.
struct Example {
    child: Child,
    port: u16,
}

impl Example {
    fn start(folder: &Path, services: Option<&Path>) -> Example {
        let program = folder.join("streaming-server");
        compile("cc", &root().join("../examples/streaming-server.c"), &program, &["-std=c11"]);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(&program);
        command.arg("streams").arg(port.to_string()).env_remove("BACKDOORS_SERVICES");
        if let Some(services) = services {
            command.env("BACKDOORS_SERVICES", services);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Example { child, port }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap()
    }

    /// Everything that comes of these words.
    fn answer(&self, words: &str) -> String {
        let mut client = self.connect();
        client.write_all(words.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends it, and returns what it had to say.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_an_agent_the_example_serves_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let example = Example::start(folder.path(), None);
    let lines = "line 1 after 0 cf9af0de\nline 2 after 0 f8ee716f\nline 3 after 0 4c6785bc\n";
    assert_eq!(example.answer("STREAM 1000 3\n"), lines);
    assert_eq!(example.answer("STREAM 1 3\nRATE 1000\n"), lines);
    let told = example.answer("TIME\nSTREAM 1000 1\n");
    let time = told.split(' ').nth(1).unwrap();
    assert!(
        told.starts_with(&format!("time {time} ")) && told.contains(&format!("\nline 1 after {time} ")),
        "{told}"
    );
    // Whoever reads late is sent everything all the same, and holds up nobody.
    let mut late = example.connect();
    late.write_all(b"STREAM 100000 200000\n").unwrap();
    assert_eq!(example.answer("STREAM 1000 3\n"), lines);
    let received = BufReader::new(late).lines().map(Result::unwrap).enumerate();
    assert!(
        received.inspect(|(at, line)| assert!(line.starts_with(&format!("line {} ", at + 1)))).count()
            == 200_000
    );
    assert_eq!(example.end(), "");
}

#[test]
fn with_an_agent_that_is_missing_the_example_says_so_and_serves_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let example = Example::start(folder.path(), Some(&folder.path().join("nobody.sock")));
    assert!(example.answer("STREAM 1000 3\n").ends_with("line 3 after 0 4c6785bc\n"));
    for senseless in ["what?\n", "STREAM 0 1\n", "STREAM 1 1 1", "RATE 5\n", &"x".repeat(200)] {
        let mut client = example.connect();
        client.write_all(senseless.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        assert_eq!(answer, "", "{senseless}");
    }
    let said = example.end();
    assert!(said.starts_with("backdoors: no agent: "), "{said}");
    assert_eq!(said.matches("it does not make sense").count(), 4, "{said}");
}

//! The file server, as its clients see it; there is no agent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Server {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("ten.txt"), b"0123456789").unwrap();
        std::fs::write(root.join("empty"), b"").unwrap();
        std::fs::write(root.join("with space"), b"found").unwrap();
        std::fs::write(root.join("sub/index.html"), b"<p>").unwrap();
        std::fs::write(folder.path().join("secret"), b"secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_backdoors-file-server"))
            .args(["127.0.0.1:0", root.to_str().unwrap()])
            .env_remove("BACKDOORS_SERVICES")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Server { process, address, _folder: folder }
    }

    /// What comes back for these bytes until the server closes the connection.
    fn say(&self, bytes: &str) -> String {
        let mut client = TcpStream::connect(&self.address).unwrap();
        client.write_all(bytes.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, target: &str, headers: &str) -> String {
        self.say(&format!("GET {target} HTTP/1.1\r\nHost: here\r\n{headers}\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn has(answer: &str, lines: &[&str]) {
    for line in lines {
        assert!(answer.contains(line), "no {line:?} in {answer:?}");
    }
}

#[test]
fn files_come_whole_in_ranges_or_described() {
    let server = Server::start();
    let whole = server.get("/ten.txt", "");
    has(&whole, &["HTTP/1.1 200 OK\r\n", "Content-Length: 10\r\n", "Content-Type: text/plain\r\n"]);
    assert!(whole.ends_with("\r\n\r\n0123456789"));
    for (range, content, bytes) in [
        ("2-4", "2-4/10", "234"),
        ("7-", "7-9/10", "789"),
        ("-2", "8-9/10", "89"),
        ("5-99", "5-9/10", "56789"),
    ] {
        let part = server.get("/ten.txt", &format!("Range: bytes={range}\r\n"));
        has(&part, &["HTTP/1.1 206 Partial Content\r\n", &format!("Content-Range: bytes {content}\r\n")]);
        assert!(part.ends_with(&format!("\r\n\r\n{bytes}")), "{part}");
    }
    let beyond = server.get("/ten.txt", "Range: bytes=10-\r\n");
    has(&beyond, &["HTTP/1.1 416 ", "Content-Range: bytes */10\r\n", "Content-Length: 0\r\n"]);
    // What is not understood does not count.
    for range in ["bytes=4-2", "bytes=1-2,4-5", "lines=1-2", "bytes=x-"] {
        has(&server.get("/ten.txt", &format!("Range: {range}\r\n")), &["HTTP/1.1 200 OK\r\n"]);
    }
    has(&server.get("/ten.txt", "Range: bytes=1-2\r\nIf-Range: \"other\"\r\n"), &["HTTP/1.1 200 OK\r\n"]);
    let described = server.say("HEAD /ten.txt HTTP/1.1\r\n\r\n");
    has(&described, &["HTTP/1.1 200 OK\r\n", "Content-Length: 10\r\n"]);
    assert!(described.ends_with("\r\n\r\n"));
    has(&server.get("/empty", ""), &["HTTP/1.1 200 OK\r\n", "Content-Length: 0\r\n"]);
    has(&server.get("/sub", ""), &["HTTP/1.1 200 OK\r\n", "text/html", "<p>"]);
    has(&server.get("/with%20space?query", ""), &["found"]);
}

#[test]
fn nothing_outside_the_folder_is_served_and_what_makes_no_sense_is_told() {
    let server = Server::start();
    for target in ["/none", "/../secret", "/%2e%2e/secret", "//etc/passwd", "/link", "/%zz", "/%", "/"] {
        has(&server.get(target, ""), &["HTTP/1.1 404 Not Found\r\n", "Content-Length: 0\r\n"]);
    }
    has(&server.say("DELETE /ten.txt HTTP/1.1\r\n\r\n"), &["HTTP/1.1 405 ", "Allow: GET, HEAD\r\n"]);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(3000));
    for senseless in
        ["what\r\n\r\n", "GET / FTP/1.0\r\n\r\n", "GET /ten.txt HTTP/1.1\r\nContent-Length: 3\r\n\r\n", &long]
    {
        has(&server.say(senseless), &["HTTP/1.1 400 Bad Request\r\n", "Connection: close\r\n"]);
    }
}

#[test]
fn a_connection_serves_requests_until_one_wants_no_more() {
    let server = Server::start();
    let request = "GET /ten.txt HTTP/1.1\r\n\r\n";
    assert_eq!(server.say(&request.repeat(3)).matches("0123456789").count(), 3);
    let last = "GET /ten.txt HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answers = server.say(&format!("{request}{last}{request}"));
    assert_eq!(answers.matches("0123456789").count(), 2);
    let old = "GET /ten.txt HTTP/1.0\r\n\r\n";
    assert_eq!(server.say(&old.repeat(2)).matches("0123456789").count(), 1);
    let kept = "GET /ten.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(server.say(&kept.repeat(2)).matches("0123456789").count(), 2);
}

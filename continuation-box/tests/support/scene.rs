//! A client, the host that served it, and the host that goes on.

use super::capture::{Capture, Seen};
use super::{Host, Switch, dump};
use backdoors_continuation_box::tcp::{Announced, Prefixed, Resumed, SilentAddresses, TcpState, rebuild};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub const PORT: u16 = 7000;

pub struct Scene {
    pub client: Host,
    pub old: Host,
    pub new: Host,
    pub switch: Switch,
    pub service: Prefixed,
    capture: Option<Capture>,
}

/// A connection that was taken over, and when.
pub struct TakenOver {
    pub state: TcpState,
    pub stream: TcpStream,
    /// How many of the unsent bytes it took.
    pub written: usize,
    pub resumed_at: Instant,
    /// How long it took to rebuild it, and then to resume it.
    pub took: [Duration; 2],
    pub announced: Announced,
}

impl Scene {
    pub fn new(service: &str) -> Scene {
        let (client, old, new, switch) = (Host::new(), Host::new(), Host::new(), Switch::new());
        let address: IpAddr = service.parse().unwrap();
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        switch.plug(&client, "client", &["10.77.0.1/24", "fd77::1/64"]);
        switch.plug(&old, "old", &["10.77.0.2/24", "fd77::2/64", &format!("{address}/{prefix}")]);
        switch.plug(&new, "new", &["10.77.0.3/24", "fd77::3/64"]);
        let capture = client.run(Capture::start);
        Scene { client, old, new, switch, service: Prefixed { address, prefix }, capture: Some(capture) }
    }

    /// The client's end and the server's, in the namespaces of their hosts.
    pub fn connect(&self) -> (TcpStream, TcpStream) {
        let at = SocketAddr::new(self.service.address, PORT);
        let listener = self.old.run(|| TcpListener::bind(at).unwrap());
        let client = self.client.run(|| TcpStream::connect(at).unwrap());
        (client, listener.accept().unwrap().0)
    }

    /// The old host is gone, from now on: its packets and its clients' are lost.
    pub fn cut_off_old(&self) {
        self.switch.cut_off("old");
    }

    /// The old host hears nothing of the client any more.
    pub fn silence_client(&self) {
        self.client.ip(&format!(
            "neighbour replace {} lladdr 02:00:00:00:de:ad nud reachable dev eth0",
            self.service.address
        ));
    }

    /// Rebuilds what the old host had on the new one.
    pub fn take_over(&self, server: TcpStream) -> TakenOver {
        let state = dump::dump(server);
        self.go_on(state)
    }

    pub fn go_on(&self, state: TcpState) -> TakenOver {
        let (resumed, resumed_at, took, announced) = self.new.run(|| {
            let silent = SilentAddresses::take("eth0", &[self.service]).unwrap();
            let began = Instant::now();
            let rebuilt = rebuild(state.clone()).unwrap();
            let rebuilding = began.elapsed();
            let announced = silent.announce().unwrap();
            let resumed_at = Instant::now();
            let resumed = rebuilt.resume().unwrap();
            (resumed, resumed_at, [rebuilding, resumed_at.elapsed()], announced)
        });
        let Resumed { stream, written } = resumed;
        TakenOver { state, stream, written, resumed_at, took, announced }
    }

    /// Ends the capture at the client's card and says what passed; there must be no reset.
    pub fn seen(&mut self) -> Vec<Seen> {
        let seen = self.capture.take().unwrap().end();
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|segment| !segment.reset), "a reset is on the wire");
        seen
    }
}

/// Byte number `position` of a stream: the same everywhere, and never the same twice in a row of 251.
pub fn byte(position: usize) -> u8 {
    (position % 251) as u8 ^ (position / 251 % 13) as u8
}

pub fn bytes(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(byte).collect()
}

/// Reads so many bytes of the stream from position `from` on, and says how long the longest wait was.
pub fn read_stream(stream: &mut TcpStream, from: usize, length: usize) -> Duration {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let (mut at, mut longest) = (from, Duration::ZERO);
    while at < from + length {
        let began = Instant::now();
        let most = buffer.len().min(from + length - at);
        let read = match stream.read(&mut buffer[..most]) {
            // A read with a timeout is not begun again by the kernel.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert_ne!(read, 0, "the stream ended at byte {at} of {}", from + length);
        longest = longest.max(began.elapsed());
        assert!(
            buffer[..read] == bytes(at, read),
            "bytes {at} to {} are not those that were written",
            at + read
        );
        at += read;
    }
    longest
}

/// Writes the stream from position `from` on until nothing fits any more, and says where it stopped.
pub fn fill(stream: &mut TcpStream, from: usize) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut at = from;
    let mut full_since = Instant::now();
    // Room may come as long as acknowledgements do.
    while full_since.elapsed() < Duration::from_millis(100) {
        match stream.write(&bytes(at, 4096)) {
            Ok(written) => {
                at += written;
                full_since = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1))
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    at
}

/// Both directions go on: a round of bytes each way, from these positions.
pub fn goes_on(client: &mut TcpStream, server: &mut TcpStream, up: usize, down: usize) {
    client.write_all(&bytes(up, 3000)).unwrap();
    read_stream(server, up, 3000);
    server.write_all(&bytes(down, 3000)).unwrap();
    read_stream(client, down, 3000);
}

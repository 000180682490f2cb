//! Who is served in the rows: what each client does, and of which server.

use super::files;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that iperf3 writes at once.
const BLOCK: usize = 16 << 10;
/// Streams of one iperf3, at most.
const STREAMS: usize = 100;
/// Bytes a second that clients who hurry want together.
const HURRY: usize = 1_200_000_000;

/// Longest time without a byte before a client of the lab gives up, at hosts.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the clients of a crowd want to be served by hosts.
const WHILE: usize = 4;

/// What a lab's machines are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes that all clients of a crowd together get, if there are few of them.
    pub bytes: usize,
    /// How many times as long as at hosts everything may take, and takes.
    pub slowness: u32,
}

impl Pace {
    /// Bytes for each client: much more than buffers hold, and not more than a small machine can check while it lasts.
    pub fn bytes_each(self, sessions: usize) -> usize {
        (self.bytes / sessions).max(self.bytes / 40)
    }

    /// And how many a second.
    fn rate_each(self, sessions: usize) -> usize {
        self.bytes_each(sessions) / (WHILE * self.slowness())
    }

    /// All of a crowd together.
    pub fn rate(self, sessions: usize) -> usize {
        self.rate_each(sessions) * sessions
    }

    /// Bytes a second of a crowd until the fault, where the network is its pace: its first one must not be done before the last one of
    /// all crowds begins.
    pub fn opening_rate(self) -> usize {
        self.bytes / (10 * WHILE * self.slowness())
    }

    fn slowness(self) -> usize {
        self.slowness as usize
    }

    /// How long to wait for what hosts do in this time.
    pub fn patience(self, hosts: Duration) -> Duration {
        hosts * self.slowness
    }
}

/// Clients of the lab that are connected look for this file, and begin.
pub(super) const BEGIN: &str = "begin";
/// Clients that wait for a moment to close look for this file.
pub(super) const CLOSE: &str = "close";

/// When a client is told to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Before the fault, when the node's ends of all connections are in this state.
    Before(&'static str),
    /// After the fault, before the recovery, if the node cannot hear of it.
    Meanwhile,
    /// After the recovery.
    After,
}

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Reads a long stream.
    Downloads,
    /// Reads a longer one as fast as it comes.
    Hurries,
    /// Does so with a pause in which its window closes.
    Stalls,
    /// Writes small pieces all the time, also while nobody serves it, and reads what comes back.
    Dribbles,
    /// Writes a long stream, and hears at the end what came.
    Uploads,
    /// Has said all that it has to say, and reads.
    HalfCloses,
    /// Reads slowly what its server has written and ended long ago.
    Lags,
    /// The same, and had closed its direction before its server did.
    LagsAfterClosing,
    /// The same, and closes its direction when its server has closed and the end did not get through yet.
    LagsAndCloses,
    /// Has everything, its end too, and does not close yet.
    Stays,
    /// Reads a long stream, and closes its direction in the middle of it: where the node is cut off, before the recovery.
    ClosesMeanwhile,
    /// Has everything, its end too, and closes: where the node is cut off, before the recovery.
    LeavesMeanwhile,
    /// `curl`, which fetches a file.
    Curl,
    /// `wget`, which fetches a file.
    Wget,
    /// `nc`, which fetches a file.
    Netcat,
    /// `iperf3`, which writes.
    IperfWrites,
    /// `iperf3`, which reads.
    IperfReads,
}

impl Client {
    /// All of them, but who hurries and leaves a small machine no time for anything else.
    pub const ALL: [Client; 16] = [
        Client::Downloads,
        Client::Stalls,
        Client::Dribbles,
        Client::Uploads,
        Client::HalfCloses,
        Client::Lags,
        Client::LagsAfterClosing,
        Client::LagsAndCloses,
        Client::Stays,
        Client::ClosesMeanwhile,
        Client::LeavesMeanwhile,
        Client::Curl,
        Client::Wget,
        Client::Netcat,
        Client::IperfWrites,
        Client::IperfReads,
    ];

    /// Its server's program, and whether that is told what to serve.
    pub(super) fn server(self) -> Server {
        match self {
            Client::Curl | Client::Wget | Client::Netcat => Server::Files,
            Client::IperfWrites | Client::IperfReads => Server::Iperf,
            _ => Server::Echo,
        }
    }

    /// What the node's end of its connection is in when the server has nothing more to do with it; none if it has.
    pub(super) fn ended_state(self) -> Option<&'static str> {
        match self {
            Client::Lags => Some("fin-wait-1"),
            Client::LagsAfterClosing => Some("last-ack"),
            Client::LagsAndCloses => Some("closing"),
            Client::Stays | Client::LeavesMeanwhile => Some("fin-wait-2"),
            _ => None,
        }
    }

    /// When it is told to close; none if it closes by itself.
    pub(super) fn closing(self) -> Option<Closing> {
        match self {
            Client::LagsAndCloses => Some(Closing::Before("fin-wait-1")),
            Client::ClosesMeanwhile | Client::LeavesMeanwhile => Some(Closing::Meanwhile),
            Client::Stays => Some(Closing::After),
            _ => None,
        }
    }

    /// What its own end is in before the recovery, if nobody hears it.
    pub(super) fn unheard_state(self) -> Option<&'static str> {
        match self {
            Client::ClosesMeanwhile => Some("fin-wait-1"),
            Client::LeavesMeanwhile => Some("last-ack"),
            _ => None,
        }
    }

    /// Whether its server writes more at once than the usual ring holds.
    pub(super) fn is_behind(self) -> bool {
        matches!(self, Client::Lags | Client::LagsAfterClosing | Client::LagsAndCloses)
    }

    /// Lines that it prints at its end, if there are so many of it.
    pub(super) fn ends(self, sessions: usize) -> usize {
        // A process of iperf3 has many streams.
        if self.server() == Server::Iperf { sessions.div_ceil(STREAMS) } else { sessions }
    }

    /// Connections that so many sessions are.
    pub(super) fn connections(self, sessions: usize) -> usize {
        // A process of iperf3 has one more, for control.
        if self.server() == Server::Iperf { sessions + self.ends(sessions) } else { sessions }
    }

    /// What clients of the lab are told, so that they are in the middle of it for some seconds.
    fn arguments(self, pace: Pace, sessions: usize) -> String {
        let (bytes, rate, slowness) = (pace.bytes_each(sessions), pace.rate_each(sessions), pace.slowness());
        // As much as goes into the buffers of both ends.
        let lag = format!("'download 300000' --rate {}", 50_000 / slowness);
        match self {
            // All together want more than there is; without a limit some would be done before others have begun.
            Client::Hurries => format!("'download {}' --rate {}", 8 * HURRY / sessions, HURRY / sessions),
            Client::Stalls => format!("'download {bytes}' --rate {} --stall {}", 4 * rate, 2500 * slowness),
            Client::Dribbles => {
                // As many pieces as there is time for, all the same for one as for many.
                format!("echo --write {} --piece 777 --pause {}", 777 * 400, 7 * slowness)
            }
            Client::Uploads => {
                let piece = bytes / 200;
                format!("sink --write {} --piece {piece} --pause {}", 150 * piece, 20 * slowness)
            }
            Client::HalfCloses => format!("'download {bytes}' --rate {rate} --half-close"),
            Client::Lags => lag,
            Client::LagsAfterClosing => format!("{lag} --half-close"),
            Client::LagsAndCloses => format!("{lag} --close-when {CLOSE}"),
            Client::ClosesMeanwhile => format!("'download {bytes}' --rate {rate} --close-when {CLOSE}"),
            Client::Stays | Client::LeavesMeanwhile => format!("'download 100000' --stay-until {CLOSE}"),
            _ => format!("'download {bytes}' --rate {rate}"),
        }
    }

    /// The shell script that is all the clients, of which those of the lab are this program, in a folder of their own. It prints a line
    /// for each when it ends: bytes, the longest time without any (ms, or `-`), and `ok` or what was wrong; for each process of iperf3
    /// its status, number and `done`. Files are to have the SHA-256 of `sum`.
    pub(super) fn script(
        self,
        program: &str,
        service: SocketAddr,
        pace: Pace,
        sessions: usize,
        sum: &str,
    ) -> String {
        let (address, port) = (service.ip(), service.port());
        let fetch = match self {
            Client::Curl => format!("curl -sS -o got.$i http://{service}/large"),
            Client::Wget => {
                // It would try again, and nobody would know.
                format!("wget -nv --tries=1 -O got.$i http://{service}/large")
            }
            Client::Netcat => {
                let request = "printf 'GET /large HTTP/1.0\\r\\n\\r\\n'";
                let body = "LC_ALL=C sed '1,/^\\r$/d' > got.$i";
                format!("{{ {request} | nc {address} {port} | {body}; [ ${{PIPESTATUS[1]}} = 0 ]; }}")
            }
            Client::IperfWrites | Client::IperfReads => {
                let is_reading = if self == Client::IperfReads { "-R" } else { "" };
                let processes = self.ends(sessions);
                let streams = sessions.div_ceil(processes);
                let all = (pace.bytes_each(sessions) / BLOCK).max(1) * BLOCK * streams;
                // Bits: the first ones must not be done before the last ones have begun.
                let rate = 4 * pace.rate_each(sessions);
                return format!(
                    "for i in $(seq {processes}); do (iperf3 -c {address} -p {port} -P {streams} -l {BLOCK} -n {all} -b {rate} \
                     {is_reading} -J > iperf.$i; echo $? $i done) & done; wait"
                );
            }
            _ => {
                let arguments = self.arguments(pace, sessions);
                return format!(
                    "exec {program} {service} {arguments} --sessions {sessions} --begin-when {BEGIN} --tally tally \
                     --patience {}",
                    pace.patience(PATIENCE).as_secs()
                );
            }
        };
        format!(
            "for i in $(seq {sessions}); do (said=$({fetch} 2>&1); status=$?; sum=$(sha256sum < got.$i); \
             if [ \"$status $sum\" = '0 {sum}  -' ]; then said=ok; fi; \
             echo $(stat -c %s got.$i) - ${{said:-status $status, sum $sum, not {sum}}}) & done; wait"
        )
    }
}

/// What serves a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The lab's own, for the lab's own clients.
    Echo,
    /// The example that serves files.
    Files,
    /// The lab's server of iperf3's protocol.
    Iperf,
}

impl Server {
    /// All there are.
    pub const ALL: [Server; 3] = [Server::Echo, Server::Files, Server::Iperf];

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Server::Echo => "backdoors-echo",
            Server::Files => "backdoors-file-server",
            Server::Iperf => "backdoors-iperf3",
        }
    }

    /// What it is told, to serve this service at all addresses of the family of this one.
    pub fn arguments(self, at: SocketAddr, service: &str) -> String {
        let all = if at.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let folder = if self == Server::Files { files::FOLDER } else { "" };
        format!("{all}:{} {folder} {service}", at.port())
    }
}

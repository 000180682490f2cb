//! Who is served in the rows: what each client does, and of which server.

use super::files;
use super::scene::{Machines, NAME, PORT};
use crate::deployment::FOLDER;
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes that iperf3 writes at once.
const BLOCK: usize = 16 << 10;
/// Streams of one iperf3, at most.
const STREAMS: usize = 100;
/// Bytes that all clients of a row together get, and how many a second, if there are few of them.
const BYTES: usize = 20_000_000;
const RATE: usize = 5_000_000;
/// The same until the fault, where the network is their pace: the first ones must not be done before the last ones begin.
const OPENING_RATE: usize = 500_000;
/// Bytes a second that clients who hurry want together.
const HURRY: usize = 1_200_000_000;

/// Clients of the lab that are connected look for this file, and begin.
const BEGIN: &str = "/run/backdoors/begin";
/// Clients that wait for a moment to close look for this file.
const CLOSE: &str = "/run/backdoors/close";

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

    /// Its server, and what that is told.
    pub(super) fn server(self, address: IpAddr) -> (&'static str, String) {
        match self {
            Client::Curl | Client::Wget | Client::Netcat => {
                ("backdoors-file-server", format!("{} {} {NAME}", at(address), files::FOLDER))
            }
            Client::IperfWrites | Client::IperfReads => ("backdoors-iperf3", at(address)),
            _ => ("backdoors-echo", at(address)),
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

    /// Tells it to.
    pub(super) fn close(client: &Host) -> Result<()> {
        client.write(CLOSE, "")
    }

    /// Tells those of the lab, which are connected, to begin.
    pub(super) fn begin(client: &Host) -> Result<()> {
        client.write(BEGIN, "")
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

    /// Processes of iperf3 that have so many streams.
    fn processes(sessions: usize) -> usize {
        sessions.div_ceil(STREAMS)
    }

    /// Connections that so many sessions are.
    pub(super) fn connections(self, sessions: usize) -> usize {
        match self {
            Client::IperfWrites | Client::IperfReads => sessions + Client::processes(sessions),
            _ => sessions,
        }
    }

    /// What clients of the lab are told, so that they are in the middle of it for some seconds.
    fn arguments(self, sessions: usize) -> String {
        let each = |all| each(all, sessions);
        let (bytes, rate) = (each(BYTES), each(RATE));
        match self {
            // All together want more than there is; without a limit some would be done before others have begun.
            Client::Hurries => format!("'download {}' --rate {}", 8 * HURRY / sessions, HURRY / sessions),
            Client::Stalls => format!("'download {bytes}' --rate {} --stall 2500", 4 * rate),
            Client::Dribbles => {
                // As many pieces as there is time for, all the same for one as for many.
                let pieces = 400;
                format!("echo --write {} --piece 777 --pause 7", 777 * pieces)
            }
            Client::Uploads => {
                let piece = each(100_000);
                format!("sink --write {} --piece {piece} --pause 20", 150 * piece)
            }
            Client::HalfCloses => format!("'download {bytes}' --rate {rate} --half-close"),
            // As much as goes into the buffers of both ends.
            Client::Lags => "'download 300000' --rate 50000".to_owned(),
            Client::LagsAfterClosing => "'download 300000' --rate 50000 --half-close".to_owned(),
            Client::LagsAndCloses => format!("'download 300000' --rate 50000 --close-when {CLOSE}"),
            Client::ClosesMeanwhile => format!("'download {bytes}' --rate {rate} --close-when {CLOSE}"),
            Client::Stays | Client::LeavesMeanwhile => format!("'download 100000' --stay-until {CLOSE}"),
            _ => format!("'download {bytes}' --rate {rate}"),
        }
    }

    /// Prepares the machines, and returns the shell script that is all the clients. It prints a line for each when it ends: bytes,
    /// the longest time without any (ms, or `-`), and `ok` or what was wrong.
    pub(super) fn script(self, machines: &Machines<Host>, sessions: usize) -> Result<String> {
        let service = machines.service_at(PORT);
        let bytes = each(BYTES, sessions);
        let fetch = match self {
            Client::Curl => format!("curl -sS -o got.$i http://{service}/large"),
            Client::Wget => {
                // It would try again, and nobody would know.
                format!("wget -nv --tries=1 -O got.$i http://{service}/large")
            }
            Client::Netcat => {
                let request = "printf 'GET /large HTTP/1.0\\r\\n\\r\\n'";
                let body = "LC_ALL=C sed '1,/^\\r$/d' > got.$i";
                format!(
                    "{{ {request} | nc {} {PORT} | {body}; [ ${{PIPESTATUS[1]}} = 0 ]; }}",
                    machines.service
                )
            }
            Client::IperfWrites | Client::IperfReads => {
                let is_reading = if self == Client::IperfReads { "-R" } else { "" };
                let processes = Client::processes(sessions);
                let streams = sessions.div_ceil(processes);
                let all = (bytes / BLOCK).max(1) * BLOCK * streams;
                return Ok(format!(
                    "for i in $(seq {processes}); do (iperf3 -c {} -p {PORT} -P {streams} -l {BLOCK} -n {all} -b {} \
                     {is_reading} -J > iperf.$i; echo $? $i done) & done; wait",
                    machines.service,
                    // The first ones must not be done before the last ones have begun.
                    4 * each(RATE, sessions)
                ));
            }
            _ => {
                let program = machines.client.program("backdoors-client")?;
                let arguments = self.arguments(sessions);
                return Ok(format!(
                    "exec {program} {service} {arguments} --sessions {sessions} --begin-when {BEGIN} --tally {FOLDER}/tally"
                ));
            }
        };
        let sum = files::put([&machines.node, &machines.standby], bytes)?;
        Ok(format!(
            "for i in $(seq {sessions}); do (said=$({fetch} 2>&1); status=$?; sum=$(sha256sum < got.$i); \
             if [ \"$status $sum\" = '0 {sum}  -' ]; then said=ok; fi; \
             echo $(stat -c %s got.$i) - ${{said:-status $status, sum $sum, not {sum}}}) & done; wait"
        ))
    }

    /// Whether its program reads as fast as it can: then the network is its pace.
    fn is_paced_by_network(self) -> bool {
        matches!(self, Client::Curl | Client::Wget | Client::Netcat)
    }

    /// What the network does before the first one is started.
    pub(super) fn hold_back(self, client: &Host) -> Result<()> {
        if self.is_paced_by_network() { client.port().narrow(OPENING_RATE) } else { Ok(()) }
    }

    /// And from the fault on.
    pub(super) fn let_go(self, client: &Host, sessions: usize) -> Result<()> {
        let rate = each(RATE, sessions) * sessions;
        if self.is_paced_by_network() { client.port().narrow(rate) } else { Ok(()) }
    }

    /// Waits until so many clients are connected, by what they say and by what the node's kernel says: where its queue of
    /// connections to be accepted was full, it comes to know later than the client.
    pub(super) fn wait_until_connected(
        self,
        machines: &Machines<Host>,
        log: &str,
        sessions: usize,
    ) -> Result<()> {
        let wanted = self.connections(sessions);
        let Machines { client, node, .. } = machines;
        let known = format!("exclude listening exclude syn-recv exclude time-wait sport = :{PORT}");
        client.wait_for("clients that are connected", Duration::from_secs(60), || {
            let said = if self.is_of_the_lab() {
                client.shell(&format!("cat {log}"))?.matches("connected").count()
            } else {
                connections(client, "established")?
            };
            Ok((said >= wanted && count(node, &known)? >= wanted).then_some(()))
        })
    }

    fn is_of_the_lab(self) -> bool {
        self.server(IpAddr::from([0; 4])).0 == "backdoors-echo"
    }

    /// Waits for the end of all clients, which is to be a good one; returns the longest time that each had no byte, where that
    /// is known.
    pub(super) fn wait_for_the_end(self, client: &Host, log: &str, sessions: usize) -> Result<Vec<Duration>> {
        let is_iperf = matches!(self, Client::IperfWrites | Client::IperfReads);
        let ends = if is_iperf { Client::processes(sessions) } else { sessions };
        let lines = client.wait_for("the clients' end", Duration::from_secs(90), || {
            let text = client.shell(&format!("cat {log}"))?;
            let lines: Vec<String> =
                text.lines().filter(|line| line.contains(' ')).map(str::to_owned).collect();
            Ok((lines.len() >= ends).then_some(lines))
        })?;
        let mut stalls = Vec::new();
        for line in lines {
            if is_iperf {
                let [status, number, _] = line.split(' ').collect::<Vec<_>>()[..] else {
                    anyhow::bail!("a client says: {line}")
                };
                let told = client.shell(&format!("cat {FOLDER}/iperf.{number}"))?;
                ensure!(status == "0", "iperf3 ended with {status}: {told}");
                both_ends_agree(&told)?;
            } else {
                let mut words = line.split(' ');
                let (_, stall) = (words.next(), words.next().unwrap_or_default());
                ensure!(words.eq(["ok"]), "a client says: {line}");
                stalls.extend(stall.parse().ok().map(Duration::from_millis));
            }
        }
        Ok(stalls)
    }
}

/// What each gets of what all together may have: much more than buffers hold, and not more than a small machine can check while
/// it lasts.
fn each(all: usize, sessions: usize) -> usize {
    (all / sessions).max(all / 40)
}

/// All addresses of that family, as servers are told.
fn at(address: IpAddr) -> String {
    if address.is_ipv4() { format!("0.0.0.0:{PORT}") } else { format!("[::]:{PORT}") }
}

/// Connections to the service that are in this state at a host of clients.
pub(super) fn connections(client: &Host, state: &str) -> Result<usize> {
    count(client, &format!("state {state} dport = :{PORT}"))
}

/// Connections of a host that `ss` finds by this filter.
pub(super) fn count(host: &Host, filter: &str) -> Result<usize> {
    let count = host.shell(&format!("ss -Htn {filter} | wc -l"))?;
    count.trim().parse().context("counting connections")
}

/// Whether as many bytes came as were sent, by what iperf3 tells of both ends, of each stream.
fn both_ends_agree(told: &str) -> Result<()> {
    let told: Value = serde_json::from_str(told).context("what iperf3 tells")?;
    let streams = told["end"]["streams"].as_array().with_context(|| format!("no streams: {told}"))?;
    ensure!(!streams.is_empty(), "no streams: {told}");
    for stream in streams {
        let [sent, received] = ["sender", "receiver"].map(|end| stream[end]["bytes"].as_u64());
        ensure!(sent > Some(0) && sent == received, "sent {sent:?}, received {received:?}: {told}");
    }
    Ok(())
}

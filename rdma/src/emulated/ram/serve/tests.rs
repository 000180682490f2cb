use super::*;
use crate::dial::Dialer as _;
use crate::emulated::ram::message::{Answer, Call, PageRun, Reply, Request, VERSION, line};
use crate::emulated::{Dialer, Nic};
use crate::owner::{RegionRequest, Rights};
use crate::{AccessError, Connection, RemoteRange};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// QEMU and the guest in it.
struct Qemu {
    port: BufReader<UnixStream>,
    monitor: UnixStream,
}

impl Qemu {
    fn switch_on(port: &UnixListener, monitor: &UnixListener) -> Qemu {
        let port = BufReader::new(port.accept().unwrap().0);
        let mut monitor = monitor.accept().unwrap().0;
        monitor.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n").unwrap();
        let mut said = String::new();
        BufReader::new(monitor.try_clone().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("qmp_capabilities"), "{said}");
        monitor.write_all(b"{\"return\": {}}\r\n").unwrap();
        Qemu { port, monitor }
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.port.get_mut().write_all(&line(&Call { session: 1, number: 1, request }).unwrap()).unwrap();
        let mut said = String::new();
        while said.trim().is_empty() {
            said.clear();
            assert_ne!(self.port.read_line(&mut said).unwrap(), 0, "the NIC is gone");
        }
        serde_json::from_str::<Answer>(&said).unwrap().reply
    }

    /// Registers a page and admits a monitor to it.
    fn program(&mut self) -> (Box<dyn Connection>, RemoteRange) {
        assert_eq!(self.ask(Request::Hello { version: VERSION, boot: "boot".into() }), Reply::Welcome);
        let region = RegionRequest {
            kind: 1,
            generation: 1,
            offset: 0,
            length: 64,
            rights: Rights::ReadOnly,
            slot: None,
        };
        let reply = self.ask(Request::Register { region, pages: vec![PageRun(1, 1)] });
        assert!(matches!(reply, Reply::Registered(_)), "{reply:?}");
        let mut dialer = Dialer::new(Duration::from_secs(5), None);
        let endpoints = dialer.prepare(1).unwrap();
        let reply = self.ask(Request::Admit { monitor: "monitor".into(), slot: 0, endpoints });
        let Reply::Admitted(admission) = reply else { panic!("{reply:?}") };
        let mut monitor = dialer.connect(&admission.endpoints).unwrap().remove(0);
        let whole = admission.directory.slice(0, 64).unwrap();
        monitor.read(whole, &mut [0; 64]).unwrap();
        (monitor, whole)
    }
}

/// Waits until the NIC has ended a connection.
fn assert_ends(monitor: &mut dyn Connection, range: RemoteRange) {
    let begun = Instant::now();
    let error = loop {
        if let Err(error) = monitor.read(range, &mut [0; 64]) {
            break error;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it is served all the same");
    };
    assert!(matches!(error, AccessError::Unreachable { .. }), "{error}");
}

#[test]
fn what_a_machine_registered_ends_with_its_reset_and_with_qemu_and_the_next_machine_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let ram = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    ram.as_file().set_len(1 << 20).unwrap();
    let [port, monitor] = ["port", "monitor"].map(|name| folder.path().join(name));
    let (stop, stopped) = UnixStream::pair().unwrap();
    let nic: JoinHandle<io::Result<()>> = thread::spawn({
        let (ram, port, monitor) = (ram.path().to_owned(), port.clone(), monitor.clone());
        move || {
            let nic = Nic::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None)?;
            let sockets = Sockets { port: &port, monitor: Some(&monitor) };
            serve(&mut Device::new(nic), &ram, sockets, std::os::fd::AsFd::as_fd(&stopped))
        }
    });
    // The NIC may be there first: it waits.
    let listeners = [port, monitor].map(|path| UnixListener::bind(path).unwrap());
    let [port, monitor] = &listeners;

    let mut qemu = Qemu::switch_on(port, monitor);
    let (mut reader, range) = qemu.program();
    qemu.monitor.write_all(b"{\"event\": \"STOP\"}\r\n{\"event\": \"RES").unwrap();
    assert!(matches!(qemu.ask(Request::Regions), Reply::Regions(regions) if regions.len() == 1));
    reader.read(range, &mut [0; 64]).unwrap();
    qemu.monitor.write_all(b"ET\", \"data\": {\"guest\": true}}\r\n").unwrap();
    assert_ends(reader.as_mut(), range);
    assert_eq!(qemu.ask(Request::Regions), Reply::Stranger);

    let (mut reader, range) = qemu.program();
    drop(qemu);
    assert_ends(reader.as_mut(), range);

    let mut qemu = Qemu::switch_on(port, monitor);
    assert_eq!(qemu.ask(Request::Regions), Reply::Stranger);
    qemu.program();
    drop(stop);
    nic.join().unwrap().unwrap();
}

use super::*;
use crate::dial::Dialer as _;
use crate::directory::Directory;
use crate::emulated::Dialer;
use crate::emulated::ram::message::PAGE;
use crate::memory::{Protection, SharedMemory};
use crate::owner::{Endpoint, Rights};
use crate::{AccessError, Connection, RemoteRange};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

const PAGES: u64 = 64;

/// A NIC, and the guest's side of everything.
struct Lab {
    device: Device,
    ram: SharedMemory,
    _file: tempfile::NamedTempFile,
    number: u64,
}

impl Lab {
    fn new() -> Lab {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        file.as_file().set_len(PAGES * PAGE).unwrap();
        let ram =
            SharedMemory::map(file.as_file().as_fd(), 0, (PAGES * PAGE) as usize, Protection::ReadWrite);
        let nic = Nic::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap();
        let mut device = Device::new(nic);
        device.switch_on(GuestMemory::open(file.path()).unwrap());
        let mut lab = Lab { device, ram: ram.unwrap(), _file: file, number: 0 };
        assert_eq!(lab.hello(1, "first boot"), Reply::Welcome);
        lab
    }

    fn ask_in(&mut self, session: u64, request: Request) -> Reply {
        self.number += 1;
        let asked = serde_json::to_vec(&Call { session, number: self.number, request }).unwrap();
        let answer: Answer = serde_json::from_slice(&self.device.line(&asked).unwrap()).unwrap();
        assert_eq!((answer.session, answer.number), (session, self.number));
        answer.reply
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.ask_in(1, request)
    }

    fn hello(&mut self, session: u64, boot: &str) -> Reply {
        self.ask_in(session, Request::Hello { version: VERSION, boot: boot.into() })
    }

    fn register(&mut self, region: RegionRequest, pages: &[PageRun]) -> Result<RegionId, OwnerError> {
        match self.ask(Request::Register { region, pages: pages.into() }) {
            Reply::Registered(id) => Ok(id),
            Reply::Failed(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn monitor(&mut self, session: u64) -> (Box<dyn Connection>, RemoteRange) {
        let mut dialer = Dialer::new(Duration::from_secs(5), None);
        let endpoints: Vec<Endpoint> = dialer.prepare(1).unwrap();
        let reply = self.ask_in(session, Request::Admit { monitor: "monitor".into(), slot: 0, endpoints });
        let Reply::Admitted(admission) = reply else { panic!("{reply:?}") };
        (dialer.connect(&admission.endpoints).unwrap().remove(0), admission.directory)
    }
}

fn region(kind: u32, offset: u64, length: u64, rights: Rights) -> RegionRequest {
    RegionRequest { kind, generation: 1, offset, length, rights, slot: None }
}

fn regions(lab: &mut Lab, session: u64) -> usize {
    match lab.ask_in(session, Request::Regions) {
        Reply::Regions(regions) => regions.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_monitor_reads_and_writes_the_pages_that_the_guest_named_in_their_order() {
    let mut lab = Lab::new();
    let request = region(1, 3 * PAGE + 4000, 3 * PAGE, Rights::Writable);
    lab.register(request, &[PageRun(9, 1), PageRun(4, 2), PageRun(20, 1)]).unwrap();
    let (mut monitor, directory) = lab.monitor(1);
    let range = Directory::fetch(monitor.as_mut(), directory).unwrap().region(1).unwrap().range;
    let bytes: Vec<u8> = (0..3 * PAGE).map(|place| (place % 251) as u8).collect();
    monitor.write(range, &bytes).unwrap();
    let mut found = vec![0; bytes.len()];
    for (place, page, start, end) in
        [(0, 9, 4000, 4096), (96, 4, 0, 4096), (4192, 5, 0, 4096), (8288, 20, 0, 4000)]
    {
        lab.ram.read_bytes(page * 4096 + start, &mut found[place..place + end - start]).unwrap();
    }
    assert_eq!(found, bytes);
    assert_eq!(lab.ram.load((20 * 4096 + 4000) / 8), 0);
    lab.ram.store(4 * 512, 7);
    let word = range.slice(96, 8).unwrap();
    assert_eq!(monitor.compare_and_swap(word, 7, 8).unwrap(), 7);
    assert_eq!(lab.ram.load(4 * 512), 8);
}

#[test]
fn another_process_of_the_same_boot_finds_everything_and_another_boot_nothing() {
    let mut lab = Lab::new();
    lab.register(region(1, 0, 64, Rights::ReadOnly), &[PageRun(9, 1)]).unwrap();
    let (mut monitor, directory) = lab.monitor(1);
    let range = Directory::fetch(monitor.as_mut(), directory).unwrap().region(1).unwrap().range;
    monitor.read(range, &mut [0; 64]).unwrap();

    assert_eq!(lab.hello(2, "first boot"), Reply::Welcome);
    assert_eq!(lab.ask(Request::Regions), Reply::Stranger);
    assert_eq!(regions(&mut lab, 2), 1);
    monitor.read(range, &mut [0; 64]).unwrap();

    assert_eq!(lab.hello(3, "second boot"), Reply::Welcome);
    assert_eq!(regions(&mut lab, 3), 0);
    let error = monitor.read(range, &mut [0; 64]).unwrap_err();
    assert!(matches!(error, AccessError::Unreachable { .. }), "{error}");
}

#[test]
fn a_machine_that_is_switched_off_takes_everything_with_it() {
    let mut lab = Lab::new();
    lab.register(region(1, 0, 64, Rights::ReadOnly), &[PageRun(9, 1)]).unwrap();
    let (mut monitor, directory) = lab.monitor(1);
    lab.device.switch_off();
    assert!(Directory::fetch(monitor.as_mut(), directory).is_err());
    assert_eq!(lab.ask(Request::Regions), Reply::Stranger);
    lab.hello(1, "first boot");
    let refused = lab.register(region(1, 0, 64, Rights::ReadOnly), &[PageRun(9, 1)]);
    assert!(matches!(refused, Err(OwnerError::Device(_))), "{refused:?}");
}

#[test]
fn pages_outside_the_ram_and_pages_too_many_or_too_few_are_refused() {
    let mut lab = Lab::new();
    let page = region(1, 0, PAGE, Rights::Writable);
    for (request, pages) in [
        (page, vec![PageRun(PAGES, 1)]),
        (page, vec![PageRun(u64::MAX, 1)]),
        (page, vec![PageRun(u64::MAX / PAGE, 1)]),
        (page, vec![PageRun(1, 0), PageRun(1, 1)]),
        (page, vec![PageRun(1, 2)]),
        (page, vec![]),
        (page, vec![PageRun(1, 1); 1000]),
        (region(1, 8, PAGE, Rights::Writable), vec![PageRun(1, 1)]),
        (region(1, 4, 8, Rights::Writable), vec![PageRun(1, 1)]),
        (region(1, 0, 0, Rights::Writable), vec![PageRun(1, 1)]),
        (region(1, u64::MAX - 7, 64, Rights::Writable), vec![PageRun(1, 1)]),
        (region(1, 0, u64::MAX, Rights::Writable), vec![PageRun(0, u32::MAX); 100]),
        (region(1, 0, (PAGES + 1) * PAGE, Rights::Writable), vec![PageRun(0, PAGES as u32 + 1)]),
        (region(1, 0, (PAGES - 1) * PAGE, Rights::Writable), vec![PageRun(2, PAGES as u32 - 1)]),
    ] {
        let refused = lab.register(request, &pages);
        assert!(
            matches!(refused, Err(OwnerError::Invalid(_) | OwnerError::Full(_))),
            "{request:?}, {pages:?}: {refused:?}"
        );
    }
    assert_eq!(regions(&mut lab, 1), 0);
    lab.register(region(1, 0, PAGE, Rights::Writable), &[PageRun(PAGES - 1, 1)]).unwrap();
}

#[test]
fn there_are_only_so_many_pages_for_all_regions_together() {
    let half = MAX_PAGES / 2;
    // The guest may name a page as often as it likes.
    let pages: Vec<PageRun> = (0..half / PAGES).map(|_| PageRun(0, PAGES as u32)).collect();
    two_take_all(half, &pages);
}

/// There is no room behind two regions of so many pages, these, until one of them is retired.
fn two_take_all(half: u64, pages: &[PageRun]) {
    let mut lab = Lab::new();
    let first = lab.register(region(1, 0, half * PAGE, Rights::ReadOnly), pages).unwrap();
    lab.register(region(2, 0, half * PAGE, Rights::ReadOnly), pages).unwrap();
    let one_more = region(3, 0, 8, Rights::ReadOnly);
    assert!(matches!(lab.register(one_more, &[PageRun(0, 1)]), Err(OwnerError::Full(_))));
    assert_eq!(lab.ask(Request::Retire(first)), Reply::Done);
    lab.register(one_more, &[PageRun(0, 1)]).unwrap();
}

#[test]
fn there_are_only_so_many_runs_of_pages_for_all_regions_together() {
    let half = MAX_RUNS as u64 / 2;
    let pages: Vec<PageRun> = (0..half).map(|run| PageRun(run % PAGES, 1)).collect();
    two_take_all(half, &pages);
}

#[test]
fn whoever_did_not_say_hello_in_a_version_known_here_is_a_stranger() {
    let mut lab = Lab::new();
    let request = region(1, 0, 8, Rights::ReadOnly);
    let register = Request::Register { region: request, pages: vec![PageRun(0, 1)] };
    assert_eq!(lab.ask_in(2, register), Reply::Stranger);
    let boots = [String::new(), "x".repeat(MAX_BOOT + 1)];
    for (version, boot) in
        [(VERSION + 1, "boot".into()), (VERSION, boots[0].clone()), (VERSION, boots[1].clone())]
    {
        let reply = lab.ask_in(2, Request::Hello { version, boot });
        assert!(matches!(reply, Reply::Failed(OwnerError::Invalid(_))), "{reply:?}");
    }
    assert_eq!(lab.ask_in(2, Request::Regions), Reply::Stranger);
    assert_eq!(regions(&mut lab, 1), 0);
}

proptest! {
    #[test]
    fn no_line_of_whatever_bytes_harms_the_nic(
        line in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "\\{\"session\":1,\"number\":[0-9]{1,25},\"request\":[\\[{\"a-zA-Z0-9:,}\\]]{0,60}\\}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let mut lab = Lab::new();
        let _ = lab.device.line(&line);
        prop_assert!(lab.register(region(7, 0, 8, Rights::ReadOnly), &[PageRun(1, 1)]).is_ok());
    }
}

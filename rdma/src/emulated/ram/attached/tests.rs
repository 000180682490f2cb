use super::*;
use crate::emulated::Nic;
use crate::emulated::ram::{Device, GuestMemory, PageRun};
use crate::owner::Rights;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

const BOOT_HERE: &str = "this boot";

/// A port with a NIC behind it, and what the test does to that.
struct Lab {
    device: Arc<Mutex<Device>>,
    /// The port's other end.
    outside: UnixStream,
    port: Option<File>,
    pins: tempfile::TempDir,
    _ram: tempfile::NamedTempFile,
}

impl Lab {
    fn new() -> Lab {
        let ram = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        ram.as_file().set_len(1 << 20).unwrap();
        let mut device = Device::new(Nic::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap());
        device.switch_on(GuestMemory::open(ram.path()).unwrap());
        let (inside, outside) = UnixStream::pair().unwrap();
        inside.set_nonblocking(true).unwrap();
        let device = Arc::new(Mutex::new(device));
        let (mut stream, answering) = (outside.try_clone().unwrap(), Arc::clone(&device));
        thread::spawn(move || {
            let (mut lines, mut room) = (Lines::default(), [0; 512]);
            while let Ok(count @ 1..) = stream.read(&mut room) {
                let mut answers = Vec::new();
                lines.feed(&room[..count], |asked| answers.extend(answering.lock().unwrap().line(asked)));
                stream.write_all(&answers.concat()).unwrap();
            }
        });
        let port = Some(File::from(OwnedFd::from(inside)));
        Lab { device, outside, port, pins: tempfile::tempdir().unwrap(), _ram: ram }
    }

    fn attach(&mut self) -> Attached {
        Attached::over(self.port.take().unwrap(), BOOT_HERE.into(), self.pins.path().into()).unwrap()
    }

    /// As a process before this one did.
    fn register(&self, kind: u32) -> RegionRequest {
        let region = RegionRequest {
            kind,
            generation: 10,
            offset: 0,
            length: 64,
            rights: Rights::ReadOnly,
            slot: None,
        };
        let pages = vec![PageRun(1, 1)];
        for request in
            [Request::Hello { version: VERSION, boot: BOOT_HERE.into() }, Request::Register { region, pages }]
        {
            let asked = line(&Call { session: 1, number: 1, request }).unwrap();
            let answer = self.device.lock().unwrap().line(&asked[1..]).unwrap();
            let Answer { reply, .. } = serde_json::from_slice(&answer).unwrap();
            assert!(matches!(reply, Reply::Welcome | Reply::Registered(_)), "{reply:?}");
        }
        region
    }
}

#[test]
fn what_is_registered_and_what_is_pinned_are_made_the_same() {
    let mut lab = Lab::new();
    let (pinned, unpinned) = (lab.register(1), lab.register(2));
    let stays = lab.pins.path().join("1-all-a");
    for name in ["1-all-a", "3-4-b"] {
        fs::write(lab.pins.path().join(name), "").unwrap();
    }
    let mut attached = lab.attach();
    let regions: Vec<RegionRequest> =
        attached.regions().unwrap().into_iter().map(|(_, region)| region).collect();
    assert_eq!(regions, [pinned], "{unpinned:?} has no pin");
    let left: Vec<PathBuf> =
        fs::read_dir(lab.pins.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&stays));
    let id = attached.regions().unwrap()[0].0;
    attached.retire(id).unwrap();
    assert!(!stays.exists());
}

#[test]
fn what_an_earlier_process_left_in_the_port_is_passed_over() {
    let mut lab = Lab::new();
    let other = Answer { session: 5, number: 1, reply: Reply::Done };
    let mut left = b"on\":7}\n".to_vec();
    left.extend(line(&other).unwrap());
    left.extend(b"{\"session\":");
    lab.outside.write_all(&left).unwrap();
    assert_eq!(lab.attach().regions(), Ok(Vec::new()));
}

#[test]
fn a_nic_that_was_restarted_is_greeted_again() {
    let mut lab = Lab::new();
    let mut attached = lab.attach();
    lab.device.lock().unwrap().reset();
    assert_eq!(attached.regions(), Ok(Vec::new()));
    let endpoints = [Endpoint::Emulated { address: None, token: [0; 16] }];
    attached.admit("monitor", 0, &endpoints).unwrap();
    attached.dismiss("monitor").unwrap();
    assert_eq!(attached.dismiss("monitor"), Err(OwnerError::UnknownMonitor("monitor".into())));
}

#[test]
fn a_memfd_is_refused_in_plain_words() {
    let mut lab = Lab::new();
    let (_memory, fd) = SharedMemory::create("test", 64).unwrap();
    let region =
        RegionRequest { kind: 1, generation: 1, offset: 0, length: 64, rights: Rights::ReadOnly, slot: None };
    let error = lab.attach().register(region, fd).unwrap_err();
    assert!(error.to_string().contains("may move the pages of a memfd"), "{error}");
}

#[test]
fn a_port_with_nobody_behind_it_is_lost_at_once() {
    let mut lab = Lab::new();
    let mut attached = lab.attach();
    lab.outside.shutdown(std::net::Shutdown::Both).unwrap();
    let begun = Instant::now();
    let error = attached.regions().unwrap_err();
    assert!(matches!(error, OwnerError::Lost(_)), "{error}");
    assert!(begun.elapsed() < ANSWER_TIME);
}

//! The sensors move when what they count moves.

use crate::host::{Host, eventually, inside, victim};
use backdoors_sensor_box::layout::{Capabilities, ProcessFlags};
use backdoors_sensor_box::{CATALOGUE, Instance, SensorKind};

#[test]
fn timer_ticks_and_switches_go_on_while_the_agent_is_frozen_and_only_its_heartbeat_stops() {
    inside(
        "sensors::timer_ticks_and_switches_go_on_while_the_agent_is_frozen_and_only_its_heartbeat_stops",
        || {
            let host = Host::start("");
            let beat = host.sensor(SensorKind::AGENT_HEARTBEAT, 0);
            eventually("a heartbeat", || (host.sensor(SensorKind::AGENT_HEARTBEAT, 0) > beat).then_some(()));
            host.freeze_agent();
            let before = host.sensors();
            eventually("300 ticks of the kernel's timer", || {
                (host.sensor(SensorKind::KERNEL_TIMER, 0) > value(&before, SensorKind::KERNEL_TIMER, 0) + 300)
                    .then_some(())
            });
            let after = host.sensors();
            assert!(after.clock > before.clock);
            let sum = |view: &backdoors_sensor_box::SensorView, kind| {
                view.of_kind(kind).map(|sensor| sensor.value).sum::<u64>()
            };
            for kind in [SensorKind::CPU_SWITCHES, SensorKind::CPU_SOFTIRQS] {
                assert!(sum(&after, kind) > sum(&before, kind), "{kind:?}");
            }
            assert_eq!(
                value(&after, SensorKind::AGENT_HEARTBEAT, 0),
                value(&before, SensorKind::AGENT_HEARTBEAT, 0)
            );
            assert_eq!(value(&after, SensorKind::AGENT_ALIVE, 0), 1, "it is stopped, and not dead");
        },
    );
}

#[test]
fn every_sensor_of_the_catalogue_is_there_with_its_limit() {
    inside("sensors::every_sensor_of_the_catalogue_is_there_with_its_limit", || {
        let host = Host::start("[limits]\n'user.processes' = 77\n'processes' = 99\n");
        let view = host.sensors();
        for line in CATALOGUE {
            let sensor = view.of_kind(line.kind).next().unwrap_or_else(|| panic!("no {}", line.name));
            assert_eq!((sensor.class, sensor.unit), (line.class, Some(line.unit)), "{}", line.name);
            if line.instance == Instance::Cpu {
                assert_eq!(view.of_kind(line.kind).count(), view.cpus as usize, "{}", line.name);
            }
        }
        assert_eq!(view.sensor(SensorKind::USER_PROCESSES, 0).unwrap().limit, Some(77));
        assert_eq!(view.sensor(SensorKind::PROCESSES, 0).unwrap().limit, Some(99));
        assert_ne!(view.capabilities & Capabilities::KERNEL_HALF, 0);
        assert_ne!(view.capabilities & Capabilities::SCOPED, 0);
    });
}

#[test]
fn a_cpu_that_runs_something_is_busy_and_one_that_idles_is_not() {
    inside("sensors::a_cpu_that_runs_something_is_busy_and_one_that_idles_is_not", || {
        let host = Host::start("");
        let mut busy = victim(60103, 20, "exec taskset -c 0 sh -c 'while :; do :; done'");
        eventually("time on the CPU", || {
            host.of_user(60103).iter().any(|process| process.cpu_time > 20_000_000).then_some(())
        });
        let switches = host.sensor(SensorKind::CPU_SWITCHES, 0);
        eventually("context switches on a busy CPU", || {
            assert_eq!(host.sensor(SensorKind::CPU_BUSY, 0), 1);
            (host.sensor(SensorKind::CPU_SWITCHES, 0) > switches + 50).then_some(())
        });
        busy.kill().unwrap();
        busy.wait().unwrap();
        // Whether a CPU idles is for all the machine to say: it may have more to do than this test.
        let idle = idle_ticks();
        let idles = || host.sensors().of_kind(SensorKind::CPU_BUSY).any(|sensor| sensor.value == 0);
        let seen = (0..2000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            idles()
        });
        let idled = idle_ticks() - idle;
        assert!(seen || idled < 40, "no CPU was seen idle that idled for {idled} hundredths of a second");
    });
}

/// Hundredths of seconds that all CPUs together idled.
fn idle_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    stat.split_whitespace().nth(4).unwrap().parse().unwrap()
}

#[test]
fn a_users_fork_rate_rises_with_its_forks_and_its_sensors_go_when_it_has_no_process() {
    inside(
        "sensors::a_users_fork_rate_rises_with_its_forks_and_its_sensors_go_when_it_has_no_process",
        || {
            let host = Host::start("");
            let mut busy = victim(60101, 20, "while :; do /bin/true; done");
            eventually("a fork rate", || (host.sensor(SensorKind::USER_FORK_RATE, 60101) > 50).then_some(()));
            busy.kill().unwrap();
            busy.wait().unwrap();
            eventually("a fork rate of zero", || {
                (host.sensor(SensorKind::USER_FORK_RATE, 60101) == 0).then_some(())
            });
            eventually("the end of the user's sensors", || {
                host.sensors().sensor(SensorKind::USER_PROCESSES, 60101).is_none().then_some(())
            });
            let mut again = victim(60101, 20, "sleep 1000");
            eventually("the user's sensors", || {
                (host.sensor(SensorKind::USER_PROCESSES, 60101) > 0).then_some(())
            });
            again.kill().unwrap();
            again.wait().unwrap();
            again.wait().unwrap();
        },
    );
}

#[test]
fn a_process_that_uses_memory_and_time_shows_it() {
    inside("sensors::a_process_that_uses_memory_and_time_shows_it", || {
        let host = Host::start("");
        let mut hog = victim(60102, 20, "exec perl -e '$x = \"x\" x 50000000; 1 while 1'");
        let hog_pid = hog.id();
        eventually("memory and time of the hog", || {
            host.of_user(60102)
                .iter()
                .any(|process| {
                    process.pid == hog_pid
                        && process.command == "perl"
                        && process.rss > 50_000_000
                        && process.cpu_time > 50_000_000
                })
                .then_some(())
        });
        hog.kill().unwrap();
        hog.wait().unwrap();
        let table = host.table();
        let agent = table.processes.iter().find(|process| process.pid == host.agent_pid()).unwrap();
        assert_ne!(agent.flags & ProcessFlags::PROTECTED, 0);
    });
}

fn value(view: &backdoors_sensor_box::SensorView, kind: SensorKind, instance: u32) -> u64 {
    view.sensor(kind, instance).unwrap().value
}

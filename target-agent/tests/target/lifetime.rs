//! What an agent leaves behind, and takes up again.

use crate::host::{Host, eventually, inside, order, victim};
use backdoors_rdma::owner::MemoryOwner;
use backdoors_sensor_box::{CommandState, Opcode, SensorKind};
use rustix::process::Signal;
use std::process::Command;

#[test]
fn a_killed_agents_kernel_half_works_on_and_the_next_agent_takes_it_up() {
    inside("lifetime::a_killed_agents_kernel_half_works_on_and_the_next_agent_takes_it_up", || {
        let mut host = Host::start("");
        let generation = host.sensors().generation;
        let regions = host.owner().regions().unwrap();
        assert_eq!(regions.len(), 7);
        assert_eq!(host.sensor(SensorKind::AGENT_ALIVE, 0), 1);
        host.end_agent(Signal::KILL);
        eventually("the sign of its end", || (host.sensor(SensorKind::AGENT_ALIVE, 0) == 0).then_some(()));
        let tick = host.sensor(SensorKind::KERNEL_TIMER, 0);
        eventually("a tick", || (host.sensor(SensorKind::KERNEL_TIMER, 0) > tick).then_some(()));
        let mut sleepers = victim(60151, 30, "sleep 1000 & wait; exec sleep 1000");
        eventually("victims", || (host.sensor(SensorKind::USER_PROCESSES, 60151) == 2).then_some(()));
        let answer = host.order(2, order(Opcode::KillUser, 60151));
        assert_eq!((answer.state, answer.signalled), (CommandState::Done, 2));
        sleepers.wait().unwrap();

        host.start_agent();
        assert_eq!(host.sensors().generation, generation);
        assert_eq!(host.sensor(SensorKind::AGENT_ALIVE, 0), 1);
        assert_eq!(host.owner().regions().unwrap(), regions);
        let beat = host.sensor(SensorKind::AGENT_HEARTBEAT, 0);
        eventually("a heartbeat", || (host.sensor(SensorKind::AGENT_HEARTBEAT, 0) > beat).then_some(()));
        assert_eq!(host.order(2, order(Opcode::Nothing, 0)).accepted, 2);
        let agent = host.agent_pid();
        eventually("protection of the new agent", || {
            let table = host.table();
            table.processes.iter().any(|process| process.pid == agent && process.flags != 0).then_some(())
        });
    });
}

#[test]
fn other_settings_make_a_new_kernel_half_with_a_new_generation() {
    inside("lifetime::other_settings_make_a_new_kernel_half_with_a_new_generation", || {
        let mut host = Host::start("");
        let generation = host.sensors().generation;
        let regions = host.owner().regions().unwrap();
        host.end_agent(Signal::KILL);
        let config = std::fs::read_to_string(host.path("agent.toml")).unwrap();
        std::fs::write(host.path("agent.toml"), format!("process_table = 64\n{config}")).unwrap();
        host.start_agent();
        assert_ne!(host.sensors().generation, generation);
        let now = host.owner().regions().unwrap();
        assert_eq!(now.len(), 7);
        assert!(now.iter().all(|(id, _)| !regions.iter().any(|(old, _)| old == id)));
    });
}

#[test]
fn an_agent_that_is_told_to_stop_leaves_nothing_behind() {
    inside("lifetime::an_agent_that_is_told_to_stop_leaves_nothing_behind", || {
        let mut host = Host::start("");
        let helper = host.half().helper().1;
        host.end_agent(Signal::TERM);
        assert!(!host.pins().any());
        assert!(host.owner().regions().unwrap().is_empty());
        eventually("the helper's end", || {
            (!std::path::Path::new(&format!("/proc/{helper}")).exists()).then_some(())
        });
    });
}

#[test]
fn detach_removes_what_a_killed_agent_left() {
    inside("lifetime::detach_removes_what_a_killed_agent_left", || {
        let mut host = Host::start("");
        host.end_agent(Signal::KILL);
        assert!(host.pins().any());
        let end = Command::new(env!("CARGO_BIN_EXE_backdoors-agent"))
            .arg("detach")
            .arg("--config")
            .arg(host.path("agent.toml"))
            .status()
            .unwrap();
        assert!(end.success());
        assert!(!host.pins().any());
    });
}

#[test]
fn a_dead_helper_is_replaced() {
    inside("lifetime::a_dead_helper_is_replaced", || {
        let host = Host::start("");
        let helper = host.half().helper().1;
        host.signal(helper, Signal::KILL);
        eventually("another helper", || {
            let now = host.half().helper().1;
            (now != helper && now != 0).then_some(())
        });
    });
}

#[test]
fn the_whole_machine_cannot_be_watched_from_inside_a_pid_namespace() {
    inside("lifetime::the_whole_machine_cannot_be_watched_from_inside_a_pid_namespace", || {
        let mut host = Host::start("");
        host.end_agent(Signal::TERM);
        let config = std::fs::read_to_string(host.path("agent.toml")).unwrap();
        std::fs::write(host.path("agent.toml"), config.replace("pid-namespace", "machine")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_backdoors-agent"))
            .arg("run")
            .arg("--config")
            .arg(host.path("agent.toml"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("scope = \"pid-namespace\""), "{said}");
        assert!(!host.pins().any());
    });
}

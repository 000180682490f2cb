//! What keeps a target from a monitor that lies: authentic commands, what each monitor may do, and agreement of several.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_sensor_box::layout::CommandFlags;
use backdoors_sensor_box::{Opcode, Refusal};
use backdoors_tests::deployment::{Deployment, FOLDER};
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::{Pair, Trio};
use backdoors_tests::rogue::{deed_of, order, start_as};
use serde_json::Value;

/// Users of the target; no others on the machine have these numbers.
const VICTIM: u32 = 61_601;
const OTHER: u32 = 61_602;

/// Runs the rogue with the monitor's own keys.
fn rogue(deployment: &Deployment<'_, Host>, deed: &str) -> Value {
    deed_of(deployment, deployment.first(), deed).unwrap()
}

#[test]
fn what_was_altered_or_sealed_with_another_key_is_not_authentic_and_uses_up_no_number() {
    for mode in ["auto", "procfs"] {
        let pair = Pair::boot(100).unwrap();
        let mut plan = plan("emulated", "");
        plan.agent = format!("scope = \"pid-namespace\"\nmode = \"{mode}\"\n");
        let deployment = pair.install(plan).unwrap();
        start_as(&deployment, VICTIM).unwrap();
        let kill = order(Opcode::KillUser, VICTIM);
        let dry = rogue(&deployment, &format!("{kill} --flags 1"));
        assert_eq!((&dry["state"], &dry["matched"]), (&"done".into(), &1.into()), "{dry}");
        let mut deeds: Vec<String> =
            (0..1984).step_by(97).map(|bit| format!("{kill} --flip {bit}")).collect();
        // Those of another key, slot and generation, one that was obeyed already, and one that nobody sealed.
        deeds.extend(["--other-key 255", "--for-slot 1", "--later 1"].map(|other| format!("{kill} {other}")));
        deeds.push(format!("{kill} --bytes {}", dry["bytes"].as_str().unwrap()));
        deeds.push(format!("{kill} --bytes {:0496}0200000000000000", 3));
        for deed in &deeds {
            let answer = rogue(&deployment, deed);
            // Whatever carries the number of the last one is not looked at.
            if answer["judged"] == true {
                assert_eq!(answer["reason"], Refusal::NotAuthentic.name(), "{deed}: {answer}");
            }
            assert_eq!(
                (&answer["accepted"], &answer["signalled"]),
                (&1.into(), &0.into()),
                "{deed}: {answer}"
            );
        }
        assert_eq!(pair.target.processes_of(VICTIM).unwrap(), 1);
        let killed = rogue(&deployment, &kill);
        assert_eq!((&killed["sequence"], &killed["state"]), (&2.into(), &"done".into()), "{killed}");
        assert_eq!(pair.target.processes_of(VICTIM).unwrap(), 0);
    }
}

#[test]
fn a_monitor_does_no_more_than_the_target_lets_it() {
    for mode in ["auto", "procfs"] {
        let pair = Pair::boot(100).unwrap();
        let mut plan = plan("emulated", "");
        plan.agent = format!("scope = \"pid-namespace\"\nmode = \"{mode}\"\n");
        let mut deployment = pair.install(plan).unwrap();
        let victim = start_as(&deployment, VICTIM).unwrap();
        let may = |deployment: &mut Deployment<'_, Host>, names: &str| {
            let script =
                format!("cd {FOLDER}; sed -i '/^may/d' agent.toml; echo 'may = [{names}]' >> agent.toml");
            pair.target.shell(&script).unwrap();
            deployment.end("TERM", deployment.agent).unwrap();
            deployment.start_agent().unwrap();
        };
        let refused = |deployment: &Deployment<'_, Host>, opcode: Opcode, subject: u32| {
            let answer = rogue(deployment, &order(opcode, subject));
            assert_eq!((&answer["state"], &answer["signalled"]), (&"refused".into(), &0.into()), "{answer}");
            assert_eq!(answer["reason"], Refusal::NotAllowed.name(), "{answer}");
            // It was judged, so its number is used up.
            assert_eq!(answer["accepted"], answer["sequence"], "{answer}");
        };
        may(&mut deployment, "");
        for (opcode, subject) in
            [(Opcode::KillUser, VICTIM), (Opcode::KillProcess, victim), (Opcode::KillTree, victim)]
        {
            refused(&deployment, opcode, subject);
        }
        assert_eq!(rogue(&deployment, &order(Opcode::Nothing, 0))["state"], "done");
        may(&mut deployment, "\"kill-process\"");
        refused(&deployment, Opcode::KillUser, VICTIM);
        let killed = rogue(&deployment, &order(Opcode::KillProcess, victim));
        assert_eq!((&killed["state"], &killed["signalled"]), (&"done".into(), &1.into()), "{killed}");
    }
}

#[test]
fn a_lying_monitor_with_its_own_keys_and_the_lease_is_not_obeyed_where_two_of_three_must_agree() {
    for mode in ["auto", "procfs"] {
        let trio = Trio::boot(100).unwrap();
        let mut plan = plan("emulated", "");
        // Its window is longer than a command of the rogue takes. The third monitor never comes.
        plan.agent = format!(
            "scope = \"pid-namespace\"\nmode = \"{mode}\"\n[agreement]\nneeded = 2\nwindow = \"5s\"\n\
             [[monitor]]\nname = \"third\"\ncertificate = \"{FOLDER}/target.crt\"\nslot = 5\n"
        );
        let deployment = trio.install(plan).unwrap();
        let victim = start_as(&deployment, VICTIM).unwrap();
        let [liar, honest] = &deployment.watchers[..] else { panic!("two monitors") };
        let kill = order(Opcode::KillUser, VICTIM);
        let vote = format!("{kill} --flags {}", CommandFlags::VOTE);
        let token = deed_of(&deployment, liar, "take-lease").unwrap()["token"].as_u64().unwrap();
        // It votes for what it wants, asks for it, says it is the other monitor, and repeats what it said.
        let voted = deed_of(&deployment, liar, &vote).unwrap();
        assert_eq!(voted["state"], "voted", "{voted}");
        let alone = deed_of(&deployment, liar, &format!("{kill} --token {token}")).unwrap();
        assert_eq!(
            (&alone["reason"], &alone["matched"]),
            (&Refusal::NoAgreement.name().into(), &1.into()),
            "{alone}"
        );
        for lie in
            [format!("{vote} --for-slot 1"), format!("{kill} --bytes {}", voted["bytes"].as_str().unwrap())]
        {
            let answer = deed_of(&deployment, liar, &lie).unwrap();
            assert!(
                answer["judged"] == false || answer["reason"] == Refusal::NotAuthentic.name(),
                "{answer}"
            );
        }
        // What the honest one wants is something else.
        deed_of(
            &deployment,
            honest,
            &format!("{} --flags {}", order(Opcode::KillUser, OTHER), CommandFlags::VOTE),
        )
        .unwrap();
        let refused = deed_of(&deployment, liar, &format!("{kill} --token {token}")).unwrap();
        assert_eq!(refused["reason"], Refusal::NoAgreement.name(), "{refused}");
        trio.pair.target.shell(&format!("test -d /proc/{victim}")).unwrap();
        // Where both want the same, it is done.
        let voted = deed_of(&deployment, honest, &vote).unwrap();
        assert_eq!((&voted["state"], &voted["signalled"]), (&"voted".into(), &0.into()), "{voted}");
        let killed = deed_of(&deployment, liar, &format!("{kill} --token {token}")).unwrap();
        assert_eq!((&killed["state"], &killed["signalled"]), (&"done".into(), &1.into()), "{killed}");
    }
}

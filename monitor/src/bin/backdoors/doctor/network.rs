//! What the network means for a standby.

use super::facts::Facts;
use super::report::Finding;
use super::report::Role::{Standby, Target};

pub fn findings(facts: &Facts) -> Vec<Finding> {
    vec![repair(facts), counts(facts), settings(facts), tracking(facts)]
}

fn repair(facts: &Facts) -> Finding {
    let name = "rebuilt connections";
    match &facts.network.repair {
        Ok(()) => Finding::good(name, &[Standby], "tried", "connections of others can go on here"),
        Err(problem) => Finding::missing(
            name,
            &[Standby],
            problem,
            "no connection can be rebuilt here",
            "run as root, on a kernel that has the socket option TCP_REPAIR",
        ),
    }
}

fn counts(facts: &Facts) -> Finding {
    let (name, roles) = ("counts of connections", &[Target, Standby]);
    match &facts.network.counts {
        Ok(()) => Finding::good(name, roles, "tried", "sessions outlive their server"),
        Err(problem) => Finding::could_be_better(
            name,
            roles,
            problem,
            "sessions end with their server, also those that were taken over",
            "modprobe tcp_diag, or boot a kernel with CONFIG_INET_TCP_DIAG",
        ),
    }
}

fn settings(facts: &Facts) -> Finding {
    let name = "network settings";
    if facts.network.settings_writable {
        return Finding::good(name, &[Standby], "writable", "an address can be taken over without a word");
    }
    Finding::missing(
        name,
        &[Standby],
        "/proc/sys/net is not writable",
        "an interface cannot be kept from answering for an address that is still the target's",
        "run as root; in a container have /proc/sys mounted writable",
    )
}

fn tracking(facts: &Facts) -> Finding {
    let name = "connection tracking";
    match facts.network.loose {
        None => Finding::good(name, &[Standby], "none", "no packet is dropped for want of a beginning"),
        Some(true) => {
            let means = "connections whose beginning was not seen are taken up";
            Finding::good(name, &[Standby], "loose", means)
        }
        Some(false) => Finding::could_be_better(
            name,
            &[Standby],
            "strict",
            "packets of a session that goes on here count as invalid, and a packet filter may drop them",
            "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::good_machine;
    use crate::doctor::report::State;

    #[test]
    fn what_a_recovery_cannot_do_without_is_missing_and_what_it_suffers_from_could_be_better() {
        let mut facts = good_machine();
        facts.network.repair = Err("not permitted".to_owned());
        facts.network.counts = Err("nobody tells".to_owned());
        facts.network.settings_writable = false;
        facts.network.loose = Some(false);
        let states: Vec<State> = findings(&facts).into_iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Missing, State::CouldBeBetter, State::Missing, State::CouldBeBetter]);
    }
}

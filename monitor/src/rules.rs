//! Which verdicts lead to which actions, by the configuration's rules and nothing else. Pure.

use crate::config::RuleConfig;
use crate::verdict::Verdict;
use std::time::Duration;

/// Follows the verdicts of one target.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    config: RuleConfig,
    /// Verdicts that led to its action: the subject, and since when it was so.
    done: Vec<(Option<String>, Duration)>,
}

/// A rule's turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Number of the rule, in the order of the configuration.
    pub rule: usize,
    /// The verdict that it is about.
    pub verdict: Verdict,
}

impl Rules {
    /// Rules that have done nothing yet.
    #[must_use]
    pub fn new(rules: &[RuleConfig]) -> Rules {
        let rule = |config: &RuleConfig| Rule { config: config.clone(), done: Vec::new() };
        Rules { rules: rules.iter().map(rule).collect() }
    }

    /// The rules of a new configuration. Those that stay as they were do not have their turn again for what led to it
    /// already.
    #[must_use]
    pub fn taking_over(rules: &[RuleConfig], mut old: Rules) -> Rules {
        let mut new = Rules::new(rules);
        for rule in &mut new.rules {
            if let Some(place) = old.rules.iter().position(|old| old.config == rule.config) {
                rule.done = old.rules.swap_remove(place).done;
            }
        }
        new
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// A rule, by its number.
    #[must_use]
    pub fn config(&self, rule: usize) -> Option<&RuleConfig> {
        self.rules.get(rule).map(|rule| &rule.config)
    }

    /// The rules whose turn it is at `now`; each has its turn once for each time a layer gets into its state.
    pub fn turns(&mut self, now: Duration, verdicts: &[Verdict]) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (number, rule) in self.rules.iter_mut().enumerate() {
            let Rule { config, done } = rule;
            done.retain(|(subject, since)| {
                verdicts.iter().any(|verdict| {
                    config.is_about(verdict) && verdict.subject == *subject && verdict.since == *since
                })
            });
            for verdict in verdicts.iter().filter(|verdict| config.is_about(verdict)) {
                let lasted = now.saturating_sub(verdict.since);
                let was_done = done
                    .iter()
                    .any(|(subject, since)| verdict.subject == *subject && verdict.since == *since);
                if lasted >= config.lasting && verdict.confidence >= config.confidence && !was_done {
                    done.push((verdict.subject.clone(), verdict.since));
                    turns.push(Turn { rule: number, verdict: verdict.clone() });
                }
            }
        }
        turns
    }
}

impl RuleConfig {
    fn is_about(&self, verdict: &Verdict) -> bool {
        verdict.layer == self.layer
            && verdict.state == self.state
            && (self.subject.is_none() || verdict.subject == self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Layer, State};

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn rules(text: &str) -> Rules {
        let rule: RuleConfig = toml::from_str(text).unwrap();
        Rules::new(&[rule])
    }

    fn verdict(subject: Option<&str>, since: u64, confidence: f64) -> Verdict {
        let layer = if subject.is_some() { Layer::Application } else { Layer::UserSpace };
        let subject = subject.map(str::to_owned);
        Verdict { layer, subject, state: State::Failed, since: at(since), confidence, evidence: Vec::new() }
    }

    #[test]
    fn a_rule_has_its_turn_once_for_each_time_a_layer_fails() {
        let mut rules = rules("layer = 'user-space'\nrun = ['page']");
        assert_eq!(rules.turns(at(100), &[verdict(None, 100, 1.0)]).len(), 1);
        assert_eq!(rules.turns(at(200), &[verdict(None, 100, 1.0)]), []);
        assert_eq!(rules.turns(at(300), &[]), []);
        assert_eq!(rules.turns(at(400), &[verdict(None, 400, 1.0)]).len(), 1);
    }

    #[test]
    fn a_rule_waits_until_the_verdict_has_lasted_and_is_sure() {
        let mut rules = rules("layer = 'user-space'\nfor = '2s'\nconfidence = 0.8\nrun = ['page']");
        assert_eq!(rules.turns(at(1999), &[verdict(None, 0, 1.0)]), []);
        assert_eq!(rules.turns(at(2000), &[verdict(None, 0, 0.7)]), []);
        assert_eq!(rules.turns(at(2100), &[verdict(None, 0, 0.8)]).len(), 1);
    }

    #[test]
    fn a_new_configuration_repeats_no_action_of_a_rule_that_stays() {
        let mut old = rules("layer = 'user-space'\nrun = ['page']");
        assert_eq!(old.turns(at(100), &[verdict(None, 100, 1.0)]).len(), 1);
        let same: RuleConfig = toml::from_str("layer = 'user-space'\nrun = ['page']").unwrap();
        let other: RuleConfig = toml::from_str("layer = 'user-space'\nrun = ['cry']").unwrap();
        let mut new = Rules::taking_over(&[other, same], old);
        let turns = new.turns(at(200), &[verdict(None, 100, 1.0)]);
        assert_eq!(turns.iter().map(|turn| turn.rule).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_rule_for_one_application_leaves_the_others_alone() {
        let mut rules = rules("layer = 'application'\nsubject = 'web'\nrun = ['page']");
        let verdicts = [verdict(Some("mail"), 0, 1.0), verdict(Some("web"), 0, 1.0)];
        let turns = rules.turns(at(0), &verdicts);
        assert_eq!(turns.len(), 1);
        assert_eq!(turns[0].verdict.subject.as_deref(), Some("web"));
    }
}

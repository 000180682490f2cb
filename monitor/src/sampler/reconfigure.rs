//! Taking a new configuration in without losing what is known: limits, rules and healers, what keeps those within bounds,
//! and the names of users that healers are told of.

use super::Sampler;
use super::enlisted::enlisted;
use super::healing::Healing;
use crate::config::{ConfigError, ConfiguredHealer, HealerConfig, TargetConfig};
use crate::journal::What;
use crate::recorder;
use crate::rules::Rules;
use std::sync::PoisonError;

impl Sampler {
    /// Whether a new configuration can be taken in: the command under way is its healer's to the end.
    pub(super) fn may_reconfigure(&self) -> bool {
        self.new_config.is_some() && self.running.is_none()
    }

    /// Takes the new configuration in, if there is one and it is time.
    pub(super) fn reconfigure(&mut self) {
        if !self.may_reconfigure() {
            return;
        }
        let Some(config) = self.new_config.take() else { return };
        if let Err(error) = self.take_config_in(*config) {
            self.note(What::NotReconfigured { reason: error.to_string() });
        }
    }

    fn take_config_in(&mut self, config: TargetConfig) -> Result<(), ConfigError> {
        let limits = config.limits()?;
        let made = config.make_healers()?;
        let spare = config.spare()?;
        let rules = std::mem::replace(&mut self.rules, Rules::new(&[]));
        self.rules = Rules::taking_over(&config.rules, rules);
        self.detector.set_limits(limits);
        if config.healers != self.config.healers {
            // They are told by the number of their healer, which may be another one's from now on.
            let now = self.clock.monotonic();
            (0..self.healers.len()).for_each(|number| self.proposals.withdraw(now, number));
            self.tell_proposals();
        }
        self.exchange_healers(made);
        self.spare = spare;
        self.budget.set_bounds(config.budget.bounds());
        self.unkillable.set_cooldown(config.budget.unkillable_cooldown);
        let TargetConfig { limits, users, healers, rules, spare, budget, .. } = config;
        (self.config.spare, self.config.budget) = (spare, budget);
        (self.config.limits, self.config.users) = (limits, users);
        (self.config.healers, self.config.rules) = (healers, rules);
        if let Some(recorder) = &mut self.recorder {
            recorder.settings(self.clock.monotonic(), &recorder::Settings::of(&self.config));
        }
        self.tell_config();
        self.call_for_applications();
        let name = |healing: &Healing| healing.healer.name().to_owned();
        self.note(What::Reconfigured {
            healers: self.healers.iter().map(name).collect(),
            rules: self.config.rules.len(),
            limits: self.config.limits.len(),
        });
        Ok(())
    }

    /// A healer that stays as it was keeps what it remembers; one of the same name at least its pauses.
    fn exchange_healers(&mut self, made: Vec<ConfiguredHealer>) {
        let old_dispatcher = std::mem::take(&mut self.dispatcher);
        let old_healers = std::mem::take(&mut self.healers).into_iter();
        let mut old: Vec<Old<'_>> = old_healers
            .zip(&self.config.healers)
            .enumerate()
            .map(|(number, (healing, config))| Old { number, healing: Some(healing), config })
            .collect();
        for (config, healer) in made {
            let index = self.healers.len();
            self.dispatcher.register(healer.watches(), config.cooldown());
            if let Some(every) = healer.looks_every() {
                self.dispatcher.look_every(index, every);
            }
            let free = |old: &Old<'_>| old.healing.is_some();
            let same = old.iter().position(|old| free(old) && *old.config == config);
            let place =
                same.or_else(|| old.iter().position(|old| free(old) && old.config.name == config.name));
            let before = place.and_then(|place| old.get_mut(place));
            let before = before.and_then(|old| Some((old.number, old.healing.take()?)));
            if let Some((number, _)) = &before {
                self.dispatcher.take_over(index, &old_dispatcher, *number, same.is_some());
            }
            self.healers.push(match before {
                Some((_, healing)) if same.is_some() => healing,
                _ => Healing::new(healer, &config),
            });
        }
    }

    /// Shows what of the configuration may change.
    pub(super) fn tell_config(&self) {
        let healers = self.config.healers.iter().zip(&self.healers);
        let all = healers.map(|(config, healing)| enlisted(config, &*healing.healer)).collect();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.healers = all;
        status.limits = self.detector.limits().clone();
        status.users.clone_from(&self.config.users);
    }
}

/// A healer of the configuration before.
struct Old<'a> {
    number: usize,
    /// Until it was taken over.
    healing: Option<Healing>,
    config: &'a HealerConfig,
}

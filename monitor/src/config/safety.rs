//! What keeps the healers of a target within bounds.

use super::schema::WrittenDuration;
use crate::budget::Bounds;
use crate::guard::Spare;
use backdoors_healers::{Users, duration};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// How much the healers of a target may do by themselves, all of them together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Most repairs in any minute. A healer that goes on and on does more harm than the ill.
    pub repairs_per_minute: u32,
    /// Most processes killed in any minute. A repair that does not fit is withheld whole; a fork bomb has as many
    /// victims as its user may have processes.
    pub victims_per_minute: u64,
    /// How long a process, user or tree is left alone after it was struck.
    #[serde(with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub victim_cooldown: Duration,
    /// How long processes are left alone that were killed and did not die.
    #[serde(with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub unkillable_cooldown: Duration,
}

impl Default for BudgetConfig {
    fn default() -> BudgetConfig {
        BudgetConfig {
            repairs_per_minute: 6,
            victims_per_minute: 2000,
            victim_cooldown: Duration::from_secs(60),
            unkillable_cooldown: Duration::from_secs(600),
        }
    }
}

impl BudgetConfig {
    /// The keys that make no sense, and what they must be.
    pub(super) fn wrong(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let longest = Duration::from_secs(3600);
        let checks = [
            (
                "budget.repairs_per_minute",
                (1..=60).contains(&self.repairs_per_minute),
                "between 1 and 60; `mode = \"propose\"` repairs nothing",
            ),
            (
                "budget.victims_per_minute",
                (1..=1_000_000).contains(&self.victims_per_minute),
                "between 1 and 1000000",
            ),
            ("budget.victim_cooldown", self.victim_cooldown <= longest, "at most 1h"),
            ("budget.unkillable_cooldown", self.unkillable_cooldown <= longest * 24, "at most 24h"),
        ];
        checks.into_iter().filter(|(_, is_good, _)| !is_good).map(|(key, _, must)| (key, must))
    }

    /// For [`crate::budget::Budget`].
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            repairs: self.repairs_per_minute,
            victims: self.victims_per_minute,
            victim_cooldown: self.victim_cooldown,
        }
    }
}

/// Whom no healer of a target may strike, on top of the healers' own lists.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpareConfig {
    /// Users, by number, or by name if the target's `users` has it.
    pub users: Vec<User>,
    /// Names of commands, as `backdoors ps` shows them. A process chooses its own name.
    pub commands: Vec<String>,
    /// Control groups, by the last component of their path, as `backdoors ps` shows it: under systemd the names of units.
    pub cgroups: Vec<String>,
}

/// A user as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum User {
    /// Its number.
    Id(u32),
    /// Its name.
    Name(String),
}

impl SpareConfig {
    /// The list, `users` being the names that the target's configuration gives.
    pub(super) fn list(&self, users: &Users) -> Result<Spare, String> {
        let number = |user: &User| match user {
            User::Id(id) => Ok(*id),
            User::Name(name) => users.get(name).copied().ok_or_else(|| {
                format!("`spare` names user `{name}`: give its number, or add it to the target's `users`")
            }),
        };
        let numbers: Vec<u32> = self.users.iter().map(number).collect::<Result<_, _>>()?;
        let cgroups = self.cgroups.iter().cloned();
        Spare::new(numbers, self.commands.iter().cloned(), cgroups).map_err(|error| error.to_string())
    }
}

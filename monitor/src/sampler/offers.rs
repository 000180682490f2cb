//! What a target offers besides processes: variables to be set, and hooks of applications to be called.

use super::Sampler;
use backdoors_sensor_box::fetch::fetch_variables;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::variables::Variable;
use backdoors_sensor_box::{Command, FetchError, Opcode};
use std::time::Duration;

/// A hook of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedHook {
    /// The application.
    pub application: String,
    /// Its place, which is the kind of its region counted from the first.
    pub place: u32,
    /// Its generation.
    pub generation: u64,
    /// The hook.
    pub name: String,
    /// Its place among those of the application.
    pub index: u32,
    /// Least word that it takes.
    pub least: u64,
    /// Greatest word that it takes.
    pub most: u64,
}

/// All that a target offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Variables, by their places.
    pub variables: Vec<Variable>,
    /// Hooks.
    pub hooks: Vec<OfferedHook>,
}

/// Why there is no such command. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOffered {
    /// No variable has that name.
    #[error("the target offers no variable `{0}`; `backdoors offers` lists them; nothing was written")]
    Variable(String),
    /// No application has that name.
    #[error(
        "no application `{0}` is attached that offers hooks; `backdoors offers` lists them; nothing was written"
    )]
    Application(String),
    /// The application has no such hook.
    #[error(
        "application `{application}` offers no hook `{hook}`; `backdoors offers` lists them; nothing was written"
    )]
    Hook {
        /// The application.
        application: String,
        /// The hook.
        hook: String,
    },
    /// The value is out of range.
    #[error("`{name}` takes {least} to {most}, not {value}; nothing was written")]
    OutOfRange {
        /// The variable or hook.
        name: String,
        /// The value.
        value: u64,
        /// Least that it takes.
        least: u64,
        /// Greatest that it takes.
        most: u64,
    },
}

/// Whether that is what somebody calls it: by its name, or by its place, as commands do.
fn is_it(said: &str, name: &str, place: u64) -> bool {
    said == name || said == place.to_string()
}

fn check(name: &str, value: u64, least: u64, most: u64) -> Result<(), NotOffered> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(NotOffered::OutOfRange { name: name.to_owned(), value, least, most })
}

impl Offers {
    /// The command that sets a variable.
    ///
    /// # Errors
    /// See [`NotOffered`].
    pub fn set(&self, name: &str, value: u64) -> Result<Command, NotOffered> {
        let mut places = (0..).zip(&self.variables);
        let found = places.find(|(place, variable)| is_it(name, &variable.name, *place));
        let (place, variable) = found.ok_or_else(|| NotOffered::Variable(name.to_owned()))?;
        check(name, value, variable.least, variable.most)?;
        Ok(Command { argument: value, ..Command::new(Opcode::SetVariable, place) })
    }

    /// The command that calls a hook.
    ///
    /// # Errors
    /// See [`NotOffered`].
    pub fn call(&self, application: &str, hook: &str, word: u64) -> Result<Command, NotOffered> {
        let of_it =
            |offered: &&OfferedHook| is_it(application, &offered.application, u64::from(offered.place));
        let mut of_application = self.hooks.iter().filter(of_it).peekable();
        if of_application.peek().is_none() {
            return Err(NotOffered::Application(application.to_owned()));
        }
        let found = of_application.find(|offered| is_it(hook, &offered.name, u64::from(offered.index)));
        let found = found
            .ok_or_else(|| NotOffered::Hook { application: application.to_owned(), hook: hook.to_owned() })?;
        check(hook, word, found.least, found.most)?;
        let subject = u64::from(found.place) << 32 | u64::from(found.index);
        Ok(Command { start: found.generation, argument: word, ..Command::new(Opcode::CallHook, subject) })
    }
}

impl Sampler {
    /// What the target offers now: variables are fetched, applications are as they were read last.
    pub(super) fn fetch_offers(&mut self, now: Duration) -> Result<Offers, FetchError<String>> {
        let variables = self.with_region(now, RegionKind::VARIABLES, |link, region| {
            fetch_variables(|into| crate::link::read(link, region, 0, into))
        })?;
        let hooks = self.applications.of_kinds().flat_map(|(kind, view)| {
            (0..).zip(&view.hooks).map(move |(index, hook)| OfferedHook {
                application: view.name.clone(),
                place: kind.saturating_sub(RegionKind::APPLICATION_FIRST),
                generation: view.generation,
                name: hook.name.clone(),
                index,
                least: hook.least,
                most: hook.most,
            })
        });
        Ok(Offers { variables, hooks: hooks.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Offers {
        let variable =
            |name: &str, most| Variable { name: name.into(), path: "/v".into(), least: 1, most, value: None };
        let hook = |application: &str, place, name: &str, index| OfferedHook {
            application: application.into(),
            place,
            generation: 77,
            name: name.into(),
            index,
            least: 0,
            most: 10,
        };
        Offers {
            variables: vec![variable("a", 1), variable("b", 9)],
            hooks: vec![hook("web", 2, "shed", 0), hook("web", 2, "flush", 1), hook("db", 5, "shed", 0)],
        }
    }

    #[test]
    fn names_become_places() {
        let set = offers().set("b", 9);
        assert_eq!(set, Ok(Command { argument: 9, ..Command::new(Opcode::SetVariable, 1) }));
        let call = offers().call("web", "flush", 3);
        let subject = 2 << 32 | 1;
        assert_eq!(call, Ok(Command { start: 77, argument: 3, ..Command::new(Opcode::CallHook, subject) }));
        assert_eq!((offers().call("2", "1", 3), offers().set("1", 9)), (call, set));
    }

    #[test]
    fn what_is_not_offered_is_refused_with_what_is_wrong() {
        let said = |told: Result<Command, NotOffered>| told.unwrap_err().to_string();
        assert!(said(offers().set("c", 1)).contains("no variable `c`"));
        assert!(said(offers().set("b", 10)).contains("`b` takes 1 to 9, not 10"));
        assert!(said(offers().call("mail", "shed", 1)).contains("no application `mail`"));
        assert!(said(offers().call("db", "flush", 1)).contains("`db` offers no hook `flush`"));
        assert!(said(offers().call("db", "shed", 11)).contains("`shed` takes 0 to 10, not 11"));
    }
}

//! Variables that the target's owner offers for remote writing.

use super::Undone;
use crate::words::Words;
use backdoors_sensor_box::Refusal;
use backdoors_sensor_box::variables::{
    MAX_VARIABLES, VARIABLE_NAME_BYTES, VARIABLE_PATH_BYTES, Variable, Variables,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// A variable as the agent's configuration offers it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableConfig {
    /// Its name, by which monitors set it.
    pub name: String,
    /// Its file, which holds the number in decimal. By default that of the kernel's variable with this name, under `/proc/sys`.
    #[serde(default)]
    file: Option<PathBuf>,
    /// Least value it may be given.
    #[serde(default)]
    least: u64,
    /// Greatest.
    most: u64,
}

/// Why a variable cannot be offered. Nothing was done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// There are more than monitors can be shown.
    #[error("{0} variables are offered, but at most {MAX_VARIABLES} can be")]
    TooMany(usize),
    /// Its name is no name, or another's.
    #[error(
        "[[variable]] name {0:?} must have 1 to {VARIABLE_NAME_BYTES} bytes, no control characters, and be no other's"
    )]
    Name(String),
    /// Its file cannot be shown.
    #[error("[[variable]] {name:?}: file must be an absolute path of at most {VARIABLE_PATH_BYTES} bytes")]
    File {
        /// Its name.
        name: String,
    },
    /// No value is allowed.
    #[error("[[variable]] {name:?}: least is {least} and most is {most}, so it could have no value")]
    Range {
        /// Its name.
        name: String,
        /// Least value.
        least: u64,
        /// Greatest.
        most: u64,
    },
}

impl VariableConfig {
    /// The variables of a configuration, without their values.
    ///
    /// # Errors
    /// See [`VariableError`].
    pub fn check(offered: &[VariableConfig]) -> Result<Vec<Variable>, VariableError> {
        if offered.len() > MAX_VARIABLES {
            return Err(VariableError::TooMany(offered.len()));
        }
        let mut names = BTreeSet::new();
        let variable = |config: &VariableConfig| {
            let VariableConfig { name, file, least, most } = config.clone();
            let fits = (1..=VARIABLE_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
            if !fits || !names.insert(name.clone()) {
                return Err(VariableError::Name(name));
            }
            let file = file.unwrap_or_else(|| PathBuf::from(format!("/proc/sys/{}", name.replace('.', "/"))));
            let path = file.to_str().filter(|path| {
                file.is_absolute() && path.len() <= VARIABLE_PATH_BYTES && !path.chars().any(char::is_control)
            });
            let Some(path) = path.map(str::to_owned) else { return Err(VariableError::File { name }) };
            if least > most {
                return Err(VariableError::Range { name, least, most });
            }
            Ok(Variable { name, path, least, most, value: None })
        };
        offered.iter().map(variable).collect()
    }
}

/// The variables that are offered, with the values they have.
#[derive(Debug)]
pub struct Watched {
    table: Variables<Words>,
    offered: Vec<Variable>,
}

impl Watched {
    /// Offers these from now on. `None` if the memory is too small.
    #[must_use]
    pub fn offer(words: Words, offered: Vec<Variable>) -> Option<Watched> {
        let mut watched = Watched { table: Variables::new(words)?, offered };
        for variable in &mut watched.offered {
            variable.value = read(&variable.path);
        }
        watched.table.offer(&watched.offered);
        Some(watched)
    }

    /// Brings their values up to date.
    pub fn look(&self) {
        for (index, variable) in (0..).zip(&self.offered) {
            self.table.set_value(index, read(&variable.path));
        }
    }
}

/// The first number of a file.
fn read(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// Writes a value to the variable at this place.
pub(super) fn set(index: u64, value: u64, table: &Variables<Words>) -> Result<(), Undone> {
    let variable = table.get(index).ok_or(Refusal::NotOffered)?;
    if !(variable.least..=variable.most).contains(&value) {
        return Err(Refusal::OutOfRange.into());
    }
    let written = fs::write(&variable.path, value.to_string());
    table.set_value(index, read(&variable.path));
    Ok(written?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
    use super::*;
    use crate::memory::Region;
    use backdoors_sensor_box::variables::VARIABLES_BYTES;

    fn offered(text: &str) -> Result<Vec<Variable>, String> {
        #[derive(Deserialize)]
        struct All {
            variable: Vec<VariableConfig>,
        }
        let all: All = toml::from_str(text).map_err(|error| error.to_string())?;
        VariableConfig::check(&all.variable).map_err(|error| error.to_string())
    }

    #[test]
    fn a_kernels_variable_needs_no_file() {
        let variables = offered("[[variable]]\nname = 'vm.swappiness'\nmost = 100\n").unwrap();
        assert_eq!((&*variables[0].path, variables[0].most), ("/proc/sys/vm/swappiness", 100));
    }

    #[test]
    fn what_makes_no_sense_is_not_offered() {
        for (wrong, why) in [
            ("name = ''\nmost = 1", "must have"),
            ("name = 'a'\nmost = 1\n[[variable]]\nname = 'a'\nmost = 1", "be no other's"),
            ("name = 'a'\nmost = 1\nfile = 'relative'", "absolute"),
            ("name = 'a'\nleast = 2\nmost = 1", "no value"),
            ("name = 'a'", "most"),
            ("name = 'a'\nmost = 1\nleats = 0", "leats"),
        ] {
            let error = offered(&format!("[[variable]]\n{wrong}\n")).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_value_is_written_only_within_its_range_and_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limit");
        fs::write(&path, "5\n").unwrap();
        let name = || "limit".to_owned();
        let variable =
            Variable { name: name(), path: path.to_str().unwrap().into(), least: 2, most: 9, value: None };
        let region = Region::create("test", VARIABLES_BYTES).unwrap();
        let watched = Watched::offer(region.words.clone(), vec![variable]).unwrap();
        let table = Variables::new(region.words.clone()).unwrap();
        assert_eq!(table.get(0).unwrap().value, Some(5));
        assert_eq!(set(0, 9, &table), Ok(()));
        assert_eq!((fs::read_to_string(&path).unwrap(), table.get(0).unwrap().value), ("9".into(), Some(9)));
        for (index, value, why) in
            [(0, 10, Refusal::OutOfRange), (0, 1, Refusal::OutOfRange), (1, 5, Refusal::NotOffered)]
        {
            assert_eq!(set(index, value, &table), Err(Undone::Refused(why)));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(set(0, 3, &table), Err(Undone::Failed(21)));
        watched.look();
        assert_eq!(table.get(0).unwrap().value, None);
    }
}

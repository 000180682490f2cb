//! What a monitor may do, by the names of commands.

use backdoors_sensor_box::{Opcode, Opcodes};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// What a monitor may do: everything, unless it is told what. Commands that do nothing are obeyed from everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// The commands that are obeyed if they come from it.
    pub commands: Opcodes,
    /// Whether its fence word counts.
    pub fence: bool,
}

/// What `may` calls the fence, among the names of commands.
pub(super) const FENCE: &str = "fence";

impl Default for May {
    fn default() -> May {
        May { commands: Commands::default().0, fence: true }
    }
}

impl<'de> Deserialize<'de> for May {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<May, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let (fences, names): (Vec<_>, Vec<_>) = names.iter().partition(|name| *name == FENCE);
        let named = |name| opcode(name, &format!("besides {FENCE}, and [] is for who may only look"));
        let opcodes = names.into_iter().map(|name| named(name).map_err(Error::custom));
        Ok(May { commands: opcodes.collect::<Result<_, _>>()?, fence: !fences.is_empty() })
    }
}

/// Commands by their names; all of them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commands(pub Opcodes);

impl Default for Commands {
    fn default() -> Commands {
        Commands(commands().collect())
    }
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Commands, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let opcodes = names.iter().map(|name| opcode(name, "and no others").map_err(Error::custom));
        opcodes.collect::<Result<_, _>>().map(Commands)
    }
}

pub(super) fn commands() -> impl Iterator<Item = Opcode> {
    Opcode::ALL.iter().map(|(opcode, _)| *opcode).filter(|opcode| *opcode != Opcode::Nothing)
}

fn opcode(name: &str, what_else: &str) -> Result<Opcode, String> {
    commands().find(|opcode| opcode.name() == name).ok_or_else(|| {
        let known: Vec<&str> = commands().map(Opcode::name).collect();
        format!("no command is called {name:?}; there are {}, {what_else}", known.join(", "))
    })
}

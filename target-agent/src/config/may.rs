//! What a monitor may do, by the names of commands.

use backdoors_sensor_box::{Opcode, Opcodes};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// What a monitor may do: everything, unless it is told what. Commands that do nothing are obeyed from everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May(pub Opcodes);

impl Default for May {
    fn default() -> May {
        May(commands().collect())
    }
}

impl<'de> Deserialize<'de> for May {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<May, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let opcodes = names.iter().map(|name| opcode(name).map_err(Error::custom));
        opcodes.collect::<Result<Opcodes, _>>().map(May)
    }
}

fn commands() -> impl Iterator<Item = Opcode> {
    Opcode::ALL.iter().map(|(opcode, _)| *opcode).filter(|opcode| *opcode != Opcode::Nothing)
}

fn opcode(name: &str) -> Result<Opcode, String> {
    commands().find(|opcode| opcode.name() == name).ok_or_else(|| {
        let known: Vec<&str> = commands().map(Opcode::name).collect();
        format!(
            "no command is called {name:?}; there are {}, and [] is for who may only look",
            known.join(", ")
        )
    })
}

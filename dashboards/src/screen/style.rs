//! Colours, which say nothing that words and signs do not say, too.
//!
//! They are told apart also by those who do not see all colours: blue, orange and vermilion of the palette by Okabe and Ito.

use backdoors_monitor_api::State;
use ratatui::style::{Color, Modifier, Style as Look};

/// How things look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    has_colours: bool,
}

impl Style {
    /// As the environment wants it: `NO_COLOR` (no-color.org), and `TERM=dumb`.
    #[must_use]
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Style {
        let is_unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = variable("TERM").is_some_and(|terminal| terminal == "dumb" || terminal == "vt100");
        Style { has_colours: !is_unwanted && !is_dumb }
    }

    fn coloured(self, look: Look, colour: Color) -> Look {
        if self.has_colours { look.fg(colour) } else { look }
    }

    /// Of a state.
    #[must_use]
    pub fn of_state(self, state: State) -> Look {
        match state {
            State::Healthy => self.coloured(Look::new(), Color::Indexed(74)),
            State::Suspect => self.coloured(Look::new().add_modifier(Modifier::BOLD), Color::Indexed(214)),
            State::Failed => self
                .coloured(Look::new().add_modifier(Modifier::BOLD | Modifier::REVERSED), Color::Indexed(202)),
            State::Unknown => Look::new().add_modifier(Modifier::DIM),
        }
    }

    /// A sign before a state, for who sees no colours.
    #[must_use]
    pub fn sign(state: State) -> &'static str {
        match state {
            State::Healthy => "+",
            State::Suspect => "!",
            State::Failed => "X",
            State::Unknown => "?",
        }
    }

    /// What is beyond its limit, or asks to be looked at.
    #[must_use]
    pub fn warning(self) -> Look {
        self.of_state(State::Suspect)
    }

    /// Titles of columns.
    #[must_use]
    pub fn title(self) -> Look {
        Look::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// The row that is selected.
    #[must_use]
    pub fn selected(self) -> Look {
        Look::new().add_modifier(Modifier::REVERSED)
    }

    /// What is of some time ago, or less important.
    #[must_use]
    pub fn faint(self) -> Look {
        Look::new().add_modifier(Modifier::DIM)
    }

    /// What is important.
    #[must_use]
    pub fn strong(self) -> Look {
        Look::new().add_modifier(Modifier::BOLD)
    }

    /// Curves.
    #[must_use]
    pub fn curve(self) -> Look {
        self.coloured(Look::new(), Color::Indexed(74))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_states_still_differ_by_sign_and_look() {
        let plain = Style::of_environment(|name| (name == "NO_COLOR").then(|| "1".to_owned()));
        let coloured = Style::of_environment(|_| None);
        assert_ne!(plain, coloured);
        let states = [State::Healthy, State::Suspect, State::Failed, State::Unknown];
        for (index, state) in states.iter().enumerate() {
            assert_eq!(plain.of_state(*state).fg, None);
            for other in &states[index + 1..] {
                assert_ne!(Style::sign(*state), Style::sign(*other));
                assert_ne!(coloured.of_state(*state), coloured.of_state(*other));
            }
        }
    }

    #[test]
    fn an_empty_no_color_wants_nothing() {
        let style = Style::of_environment(|name| (name == "NO_COLOR").then(String::new));
        assert_eq!(style, Style::of_environment(|_| None));
    }
}

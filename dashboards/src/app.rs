//! What the dashboard is doing. Pure: keys, news and the time go in, wishes and deeds come out.

use crate::action::{Action, Outcome};
use crate::fleet::Fleet;
use crate::source::{Refused, Told, Wish};
use crate::target::{ProcessOrder, Tab, Target};
use backdoors_monitor_api::{HealSubject, ProposalState};
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use std::time::Duration;

/// News that are older than this are shown as old.
pub const STALE: Duration = Duration::from_secs(3);

/// Something over the rest of the screen.
#[derive(Debug)]
pub enum Popup {
    /// The keys.
    Help,
    /// A question.
    Confirm(Action),
    /// What came of a deed, or why nothing can be done.
    Message {
        /// What it is about.
        title: String,
        /// The text, line by line.
        lines: Vec<String>,
    },
}

/// A deed that was confirmed.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    /// What.
    pub action: Action,
    /// Try only.
    pub dry_run: bool,
}

/// The dashboard.
#[derive(Debug, Default)]
pub struct App {
    /// All targets.
    pub fleet: Fleet,
    /// The one that is looked at from near.
    pub target: Option<Target>,
    /// What is over it.
    pub popup: Option<Popup>,
    /// The filter while it is typed.
    pub typing: Option<String>,
    /// When a source told something last.
    pub told_at: Option<Duration>,
    /// Why nobody tells anything, and since when.
    pub gone: Option<(String, Duration)>,
    /// What is under way.
    pub under_way: Vec<String>,
    /// Nothing can be done about the past.
    pub is_recorded: bool,
    /// The recording stands still.
    pub is_paused: bool,
    /// Rows that fit, by what was drawn last.
    pub room: usize,
    /// Where the first row was drawn, and which it was.
    pub first_row: (u16, usize),
    /// It is over.
    pub is_over: bool,
    deeds: Vec<Deed>,
}

impl App {
    /// A dashboard that was told nothing yet.
    #[must_use]
    pub fn new(is_recorded: bool) -> App {
        App { is_recorded, ..App::default() }
    }

    /// What it wants to be told, again and again.
    #[must_use]
    pub fn wishes(&self) -> Vec<Wish> {
        let mut wishes = vec![Wish::Fleet];
        wishes.extend(self.target.iter().flat_map(Target::wishes));
        wishes
    }

    /// What was confirmed since this was asked.
    pub fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    /// Whether what is shown is of some time ago.
    #[must_use]
    pub fn is_stale(&self, now: Duration) -> bool {
        self.gone.is_some() || self.told_at.is_some_and(|told| now.saturating_sub(told) > STALE)
    }

    /// Takes in the answer to a wish.
    pub fn take_in(&mut self, wish: &Wish, told: Result<Told, Refused>, now: Duration) {
        match told {
            Ok(told) => {
                (self.gone, self.told_at) = (None, Some(now));
                if let Some(target) = &mut self.target {
                    target.problems.remove(wish);
                }
                self.take_in_told(wish, told, now);
            }
            Err(Refused::Gone(why)) => {
                let since = self.gone.as_ref().map_or(now, |(_, since)| *since);
                self.gone = Some((why, since));
            }
            Err(Refused::Failed(why)) => {
                (self.gone, self.told_at) = (None, Some(now));
                if let Some(target) =
                    self.target.as_mut().filter(|target| wish.target() == Some(&target.name))
                {
                    target.problems.insert(wish.clone(), why);
                }
            }
        }
    }

    fn take_in_told(&mut self, wish: &Wish, told: Told, now: Duration) {
        if let Told::Fleet(all) = told {
            return self.fleet.take_in(all);
        }
        // What was asked about another target has come too late.
        let Some(target) = self.target.as_mut().filter(|target| wish.target() == Some(&target.name)) else {
            return;
        };
        match told {
            Told::Fleet(_) => {}
            Told::Sensors(sensors, verdicts) => target.take_in_sensors(*sensors, *verdicts, now),
            Told::Processes(processes) => target.take_in_processes(processes),
            Told::Sessions(sessions) => target.sessions = Some(sessions),
            Told::Proposals(proposals) => target.proposals = proposals,
            Told::History(events) => target.take_in_history(events),
        }
    }

    /// Takes in what came of a deed.
    pub fn take_in_outcome(&mut self, deed: &Deed, outcome: Outcome) {
        let line = deed.action.command_line();
        self.under_way.retain(|other| *other != line);
        let (title, lines) = match outcome {
            Outcome::Done(text) => ("Done".to_owned(), vec![text]),
            Outcome::Failed(text) => ("Not done".to_owned(), vec![text]),
            Outcome::Recovered(report) => {
                let lines = vec![report.text()];
                let title = if report.dry_run { "Dry run" } else { "Recovery" };
                if let Some(target) =
                    self.target.as_mut().filter(|target| target.name == report.target && !report.dry_run)
                {
                    target.take_in_recovery(report);
                    target.tab = Tab::Recovery;
                }
                (title.to_owned(), lines)
            }
        };
        let lines = [vec![line, String::new()], lines].concat();
        self.popup = Some(Popup::Message { title, lines });
    }

    /// Takes in a key.
    pub fn on_key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            self.is_over = true;
        } else if self.typing.is_some() {
            self.on_key_while_typing(key.code);
        } else if self.popup.is_some() {
            self.on_key_of_popup(key.code);
        } else {
            self.on_plain_key(key);
        }
    }

    fn on_key_while_typing(&mut self, code: KeyCode) {
        let Some(typed) = &mut self.typing else { return };
        match code {
            KeyCode::Char(letter) => typed.push(letter),
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Esc => typed.clear(),
            _ => {}
        }
        let typed = typed.clone();
        if matches!(code, KeyCode::Esc | KeyCode::Enter) {
            self.typing = None;
        }
        match &mut self.target {
            Some(target) => {
                target.filter = typed;
                target.arrange_processes();
            }
            None => self.fleet.set_filter(&typed),
        }
        self.select(0);
    }

    fn on_key_of_popup(&mut self, code: KeyCode) {
        let Some(Popup::Confirm(action)) = &self.popup else {
            // Any key puts away what is only to be read.
            self.popup = None;
            return;
        };
        let dry_run = match code {
            KeyCode::Char('y' | 'Y') => false,
            KeyCode::Char('d') if action.can_be_tried() => true,
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.popup = None;
                return;
            }
            _ => return,
        };
        let deed = Deed { action: action.clone(), dry_run };
        self.under_way.push(deed.action.command_line());
        self.deeds.push(deed);
        self.popup = None;
    }

    fn on_plain_key(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.popup = Some(Popup::Help),
            KeyCode::Char('/') => {
                let filter = self.target.as_ref().map_or(self.fleet.filter(), |target| &target.filter);
                self.typing = Some(filter.to_owned());
            }
            KeyCode::Char('q') if self.target.is_none() => self.is_over = true,
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Backspace => self.target = None,
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::PageDown => self.move_by(self.room.max(1) as isize),
            KeyCode::PageUp => self.move_by(-(self.room.max(1) as isize)),
            KeyCode::Char(' ') => self.is_paused = self.is_recorded && !self.is_paused,
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Char(letter @ ('F' | 'R')) => {
                let selected = || self.fleet.selected().map(|target| &target.name);
                let name = self.target.as_ref().map(|target| &target.name).or_else(selected).cloned();
                self.ask_for(name.map(|target| match letter {
                    'F' => Action::Fence { target },
                    _ => Action::Recover { target },
                }));
            }
            _ if self.target.is_some() => self.on_key_of_target(key.code),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Char('s') => self.fleet.sort_by_next(),
            KeyCode::Char('r') => self.fleet.reverse(),
            _ => {}
        }
    }

    fn open(&mut self) {
        if let Some(selected) = self.fleet.selected() {
            let name = selected.name.clone();
            self.fleet.select(self.fleet.position());
            self.target = Some(Target::new(&name));
        }
    }

    fn on_key_of_target(&mut self, code: KeyCode) {
        let Some(target) = &mut self.target else { return };
        let tabs = Tab::ALL.len();
        let at = Tab::ALL.iter().position(|tab| *tab == target.tab).unwrap_or(0);
        match code {
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => target.tab = Tab::ALL[(at + 1) % tabs],
            KeyCode::BackTab | KeyCode::Left => target.tab = Tab::ALL[(at + tabs - 1) % tabs],
            KeyCode::Char(digit @ '1'..='9') => {
                let chosen = digit.to_digit(10).and_then(|digit| Tab::ALL.get(digit as usize - 1));
                target.tab = chosen.copied().unwrap_or(target.tab);
            }
            KeyCode::Char(letter) if target.tab == Tab::Processes => self.on_key_of_processes(letter),
            KeyCode::Char(letter @ ('a' | 'x')) if target.tab == Tab::Verdicts => {
                self.decide_proposal(letter == 'a')
            }
            _ => {}
        }
    }

    fn on_key_of_processes(&mut self, letter: char) {
        let Some(target) = &mut self.target else { return };
        match letter {
            't' => target.is_tree = !target.is_tree,
            's' => {
                target.process_order = match target.process_order {
                    ProcessOrder::Cpu => ProcessOrder::Memory,
                    ProcessOrder::Memory => ProcessOrder::Pid,
                    ProcessOrder::Pid => ProcessOrder::Cpu,
                }
            }
            'K' | 'T' | 'U' => {
                let selected = target.processes.get(target.position()).map(|process| process.row.clone());
                let action = selected.map(|process| {
                    let named = format!("{} ({})", process.pid, process.command);
                    let user = process.user_name.clone().unwrap_or_else(|| process.user.to_string());
                    let (subject, whom) = match letter {
                        'K' => (HealSubject::Process(process.pid), format!("process {named}")),
                        'T' => (
                            HealSubject::Tree(process.pid),
                            format!("process {named} and all its descendants"),
                        ),
                        _ => (HealSubject::User(user.clone()), format!("all processes of user {user}")),
                    };
                    Action::Kill { target: target.name.clone(), subject, whom }
                });
                self.ask_for(action);
                return;
            }
            _ => return,
        }
        target.arrange_processes();
    }

    fn decide_proposal(&mut self, is_approved: bool) {
        let Some(target) = &self.target else { return };
        let selected = target.proposals.get(target.position());
        let open = selected.filter(|proposal| proposal.state == ProposalState::Open).cloned().map(Box::new);
        self.ask_for(open.map(|proposal| match is_approved {
            true => Action::Approve { proposal },
            false => Action::Reject { proposal },
        }));
    }

    fn ask_for(&mut self, action: Option<Action>) {
        let Some(action) = action else { return };
        self.popup = Some(if self.is_recorded {
            let lines = vec!["This is a recording: nothing can be done about the past.".to_owned()];
            Popup::Message { title: "Not done".to_owned(), lines }
        } else {
            Popup::Confirm(action)
        });
    }

    /// Takes in what the mouse does.
    pub fn on_mouse(&mut self, mouse: MouseEvent) {
        if self.popup.is_some() {
            return;
        }
        match mouse.kind {
            MouseEventKind::ScrollDown => self.move_by(3),
            MouseEventKind::ScrollUp => self.move_by(-3),
            MouseEventKind::Down(MouseButton::Left) => {
                let (row, first) = self.first_row;
                let Some(below) =
                    mouse.row.checked_sub(row).map(usize::from).filter(|below| *below < self.room)
                else {
                    return;
                };
                let position = first + below;
                // A row that is selected is opened by another click.
                if self.target.is_none() && position == self.fleet.position() && position < self.fleet.len() {
                    self.open();
                } else {
                    self.select(position);
                }
            }
            _ => {}
        }
    }

    fn move_by(&mut self, rows: isize) {
        let at = self.target.as_ref().map_or_else(|| self.fleet.position(), Target::position);
        self.select(at.saturating_add_signed(rows));
    }

    fn select(&mut self, position: usize) {
        match &mut self.target {
            Some(target) => target.select(position),
            None => self.fleet.select(position),
        }
    }
}

#[cfg(test)]
mod tests;

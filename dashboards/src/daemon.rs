//! A running daemon as a source, and as the one who acts.

use crate::action::{Action, Outcome};
use crate::source::{Refused, Source, Told, Wish};
use backdoors_monitor_api::{AskError, Client, Endpoint, HealAnswer, Query, Report, VerdictsAnswer};

/// Entries of the journal that are shown of a target.
const HISTORY: usize = 500;

/// A daemon. It connects when it is asked, and again after the daemon was gone.
#[derive(Debug)]
pub struct Daemon {
    endpoint: Endpoint,
    client: Option<Client>,
}

impl Daemon {
    /// The daemon that is asked there, if there is one.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Daemon {
        Daemon { endpoint, client: None }
    }

    fn client(&mut self) -> Result<&mut Client, AskError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.endpoint)?,
        };
        Ok(self.client.insert(client))
    }

    fn tell(&mut self, wish: &Wish) -> Result<Told, AskError> {
        let client = self.client()?;
        Ok(match wish {
            Wish::Fleet => Told::Fleet(client.ask(&Query::Targets {})?),
            Wish::Sensors(target) => {
                let sensors = client.ask(&Query::Sensors { target: target.clone() })?;
                let [verdicts]: [VerdictsAnswer; 1] =
                    client.ask(&Query::Verdicts { target: Some(target.clone()) })?;
                Told::Sensors(Box::new(sensors), Box::new(verdicts))
            }
            Wish::Processes(target) => {
                Told::Processes(client.ask(&Query::Processes { target: target.clone() })?)
            }
            Wish::Sessions(target) => {
                Told::Sessions(client.ask(&Query::Sessions { target: target.clone() })?)
            }
            Wish::Proposals(target) => {
                Told::Proposals(client.ask(&Query::Proposals { target: Some(target.clone()) })?)
            }
            Wish::History(target) => {
                let query = Query::Events { target: Some(target.clone()), lines: HISTORY, audit: false };
                Told::History(client.ask(&query)?)
            }
        })
    }
}

impl Source for Daemon {
    fn ask(&mut self, wish: &Wish) -> Result<Told, Refused> {
        self.tell(wish).map_err(|error| match error {
            AskError::Failed(failure) => Refused::Failed(failure.message),
            error => {
                // Whatever broke, a new connection may do.
                self.client = None;
                Refused::Gone(error.to_string())
            }
        })
    }
}

/// Does what was confirmed, and waits for its end.
#[must_use]
pub fn act(endpoint: &Endpoint, action: &Action, dry_run: bool) -> Outcome {
    let done = Client::connect(endpoint).and_then(|mut client| {
        let query = action.query(dry_run);
        Ok(match action {
            Action::Fence { .. } => Outcome::of_fence(&client.ask(&query)?),
            Action::Recover { .. } => Outcome::Recovered(client.ask::<Report>(&query)?),
            Action::Reject { .. } => {
                client.ask::<()>(&query)?;
                Outcome::Done("rejected: it is not made again for a while".to_owned())
            }
            Action::Kill { .. } | Action::Approve { .. } => {
                Outcome::of_repair(&client.ask::<HealAnswer>(&query)?)
            }
        })
    });
    done.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

//! An external healer, as the sampler knows healers.

use super::children::Children;
use super::run::{Job, run};
use backdoors_healers::external::{ExternalSettings, decode, encode};
use backdoors_healers::{Case, Diagnosis, Healer};
use backdoors_sensor_box::SensorKind;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// A healer that is a program of its own.
#[derive(Debug)]
pub struct ExternalHealer {
    name: String,
    settings: ExternalSettings,
    kinds: Vec<SensorKind>,
    children: &'static Children,
    under_way: Option<Receiver<Diagnosis>>,
}

impl ExternalHealer {
    /// The healer `name`, whose programs are listed among `children`.
    #[must_use]
    pub fn new(name: &str, settings: ExternalSettings, children: &'static Children) -> ExternalHealer {
        ExternalHealer { name: name.to_owned(), kinds: settings.kinds(), settings, children, under_way: None }
    }
}

impl Healer for ExternalHealer {
    fn name(&self) -> &str {
        &self.name
    }

    fn watches(&self) -> &[SensorKind] {
        &self.kinds
    }

    fn settings(&self) -> toml::Table {
        toml::Table::try_from(&self.settings).unwrap_or_default()
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        if self.under_way.is_some() {
            return Diagnosis::Later;
        }
        let job = Job {
            command: self.settings.command.clone(),
            input: encode(case),
            timeout: self.settings.timeout,
            most_output: self.settings.most_output,
        };
        let (sender, receiver) = sync_channel(1);
        let children = self.children;
        let started = std::thread::Builder::new().name("healer".into()).spawn(move || {
            let answered = run(&job, children).map_err(|error| error.to_string());
            let decoded = answered.and_then(|bytes| decode(&bytes).map_err(|error| error.to_string()));
            // Nobody listens any more if the healer was taken out of the configuration meanwhile.
            drop(sender.send(decoded.unwrap_or_else(|reason| Diagnosis::Broke { reason })));
        });
        match started {
            Ok(_) => {
                self.under_way = Some(receiver);
                Diagnosis::Later
            }
            Err(error) => Diagnosis::Broke { reason: format!("there is no thread for it: {error}") },
        }
    }

    fn answer(&mut self) -> Option<Diagnosis> {
        let answer = match self.under_way.as_ref()?.try_recv() {
            Ok(diagnosis) => diagnosis,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Diagnosis::Broke { reason: "its thread broke".to_owned() },
        };
        self.under_way = None;
        Some(answer)
    }
}

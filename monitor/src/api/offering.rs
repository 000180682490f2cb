//! What a target offers, as the API tells it.

use crate::sampler::Offers;
use backdoors_monitor_api::{OfferedHookRow, OfferedVariableRow, OffersAnswer};

pub(super) fn answer(target: &str, offers: Offers) -> OffersAnswer {
    let variables = offers.variables.into_iter().map(|variable| OfferedVariableRow {
        name: variable.name,
        file: variable.path,
        least: variable.least,
        most: variable.most,
        value: variable.value,
    });
    let hooks = offers.hooks.into_iter().map(|hook| OfferedHookRow {
        application: hook.application,
        hook: hook.name,
        least: hook.least,
        most: hook.most,
    });
    OffersAnswer { target: target.to_owned(), variables: variables.collect(), hooks: hooks.collect() }
}

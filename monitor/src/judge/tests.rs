//! The judge at work with the pace and the measured loss, on a target and a path that only exist here.

mod bench;
mod clocks;
mod hostile;
mod matrix;
mod promise;

use super::*;
use crate::lateness::Standing;

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn terms() -> Terms {
    Terms { period: at(100), wait: at(20), chances: 3, loss: 0.003, standing: Standing::punctual() }
}

//! Families of metrics, one after the other.

use crate::loss::{LATENCY_BOUNDS, Latencies};
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;
use std::time::Duration;

/// Where they go.
pub(super) struct Page<'a>(pub DescriptorEncoder<'a>);

impl Page<'_> {
    /// What goes up and down. A family without samples is left out.
    pub(super) fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, samples, ConstGauge::new)
    }

    /// What only goes up. `_total` is appended to its name.
    pub(super) fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Counter, samples, ConstCounter::new)
    }

    /// How long something took, each time.
    pub(super) fn histogram<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        samples: impl IntoIterator<Item = (L, Latencies)>,
    ) -> fmt::Result {
        self.family(name, help, Some(unit), MetricType::Histogram, samples, Distribution)
    }

    /// A gauge of which there is one at most.
    pub(super) fn single_gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: Option<f64>,
    ) -> fmt::Result {
        self.single(name, help, unit.as_ref(), value.map(ConstGauge::new))
    }

    /// A counter of which there is one at most.
    pub(super) fn single_counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: Option<f64>,
    ) -> fmt::Result {
        self.single(name, help, unit.as_ref(), value.map(ConstCounter::new))
    }

    fn single(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: Option<impl EncodeMetric>,
    ) -> fmt::Result {
        let Some(metric) = metric else { return Ok(()) };
        metric.encode(self.0.encode_descriptor(name, help, unit, metric.metric_type())?)
    }

    fn family<L: EncodeLabelSet, V, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, V)>,
        metric: impl Fn(V) -> M,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            metric(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// As a histogram.
#[derive(Debug)]
struct Distribution(Latencies);

impl EncodeMetric for Distribution {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = LATENCY_BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.counts).collect();
        let count = self.0.counts.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

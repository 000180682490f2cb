use super::*;

const MICROSECOND: Duration = Duration::from_micros(1);

fn feed(loss: &mut Loss, chances: u32, every: u32) {
    for chance in 1..=chances {
        if every > 0 && chance % every == 0 { loss.missed() } else { loss.good(MICROSECOND) }
    }
}

#[test]
fn with_few_data_the_loss_is_taken_to_be_high() {
    let mut loss = Loss::default();
    assert!(loss.probability() > 0.1);
    feed(&mut loss, 10, 0);
    assert!(loss.probability() > 0.05, "{}", loss.probability());
}

#[test]
fn a_path_that_loses_nothing_is_trusted_more_and_more() {
    let mut loss = Loss::default();
    let mut before = loss.probability();
    for _ in 0..6 {
        feed(&mut loss, 500, 0);
        assert!(loss.probability() < before);
        before = loss.probability();
    }
    assert!(before < 5e-3, "{before}");
}

#[test]
fn the_estimate_is_an_upper_bound_of_the_loss_and_not_far_above_it() {
    for every in [2, 3, 10, 100] {
        let mut loss = Loss::default();
        feed(&mut loss, 20_000, every);
        let truth = 1.0 / f64::from(every);
        assert!((loss.measured() - truth).abs() < 0.1 * truth, "{every}: {}", loss.measured());
        assert!(loss.probability() > truth, "{every}: {}", loss.probability());
        assert!(loss.probability() < 2.0 * truth, "{every}: {}", loss.probability());
    }
}

#[test]
fn an_outage_does_not_make_the_path_look_lossy() {
    let mut loss = Loss::default();
    feed(&mut loss, 4000, 0);
    let before = loss.probability();
    for _ in 0..100_000 {
        loss.missed();
    }
    assert_eq!(loss.probability(), before);
    loss.good(MICROSECOND);
    assert!(loss.probability() <= before);
    assert_eq!(loss.run(), 0);
}

#[test]
fn a_short_run_of_misses_counts_once_the_path_has_proved_alive() {
    let mut loss = Loss::default();
    feed(&mut loss, 4000, 0);
    let before = loss.probability();
    (0..5).for_each(|_| loss.missed());
    assert_eq!((loss.run(), loss.probability()), (5, before));
    loss.good(MICROSECOND);
    assert!(loss.probability() > before);
}

#[test]
fn a_path_that_changes_is_followed() {
    let mut loss = Loss::default();
    feed(&mut loss, 20_000, 3);
    feed(&mut loss, 30_000, 0);
    assert!(loss.probability() < 0.01, "{}", loss.probability());
    feed(&mut loss, 20_000, 3);
    assert!(loss.probability() > 0.3, "{}", loss.probability());
}

#[test]
fn quantiles_of_the_round_trip_are_within_a_fifth() {
    let mut loss = Loss::default();
    assert_eq!(loss.round_trip(), RoundTrip::default());
    for number in 0..10_000u64 {
        loss.good(Duration::from_micros(if number % 50 == 0 { 5000 } else { 100 }));
    }
    let RoundTrip { median, high } = loss.round_trip();
    assert!((100..=125).contains(&median.as_micros()), "{median:?}");
    assert!((5000..=6250).contains(&high.as_micros()), "{high:?}");
}

#[test]
fn absurd_round_trips_are_taken_without_harm() {
    let mut loss = Loss::default();
    loss.good(Duration::ZERO);
    loss.good(Duration::MAX);
    loss.late(Duration::MAX);
    assert!(loss.round_trip().high > Duration::from_secs(60));
}

#[test]
fn too_short_a_wait_is_found_out() {
    let mut loss = Loss::default();
    for _ in 0..100 {
        loss.missed();
        loss.late(Duration::from_millis(2));
        loss.good(Duration::from_micros(900));
    }
    assert!(loss.round_trip().high >= Duration::from_millis(2));
}

#[test]
fn every_reading_is_in_the_first_bucket_that_it_does_not_exceed() {
    let mut loss = Loss::default();
    let [micros, millis] = [Duration::from_micros, Duration::from_millis];
    for took in [micros(9), micros(10), micros(11), millis(5), Duration::from_secs(3)] {
        loss.good(took);
    }
    assert_eq!(loss.latencies().counts, [2, 1, 0, 0, 0, 0, 1, 0, 0, 1]);
    assert_eq!(loss.latencies().sum, micros(30) + millis(5) + Duration::from_secs(3));
}

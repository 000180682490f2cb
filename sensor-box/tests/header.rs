//! The C header says what the Rust layout says.

use std::path::Path;

#[test]
fn the_c_header_is_the_one_made_from_the_layout() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/backdoors_sensor_box.h");
    let made = backdoors_sensor_box::header::c_header();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == made,
        "run UPDATE_HEADER=1 cargo test -p backdoors-sensor-box and commit the header"
    );
}

//! An innocent with memory of its own that it works on: it takes so much, says so, and touches all of it again and again.
//!
//! `backdoors-bystander MEBIBYTES`

use std::io;
use std::time::Duration;

const PAGE: usize = 4096;
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> io::Result<()> {
    let mebibytes: Option<usize> = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let mebibytes = mebibytes.ok_or_else(|| io::Error::other("say: backdoors-bystander MEBIBYTES"))?;
    let mut memory = vec![0_u8; mebibytes << 20];
    let mut told = false;
    loop {
        for byte in std::hint::black_box(&mut memory).iter_mut().step_by(PAGE) {
            *byte = byte.wrapping_add(1);
        }
        if !told {
            println!("ready");
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

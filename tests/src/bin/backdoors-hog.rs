//! A memory hog, as the thesis has it (section 3.9.5): a controller that keeps a number of children, each of which takes
//! memory until it has all it wants, and starts another one for each that is killed. Only for machines that may drown.
//!
//! `backdoors-hog CHILDREN MEBIBYTES`: so many children, each of which takes so much.

use std::io;
use std::process::{Child, Command};
use std::time::Duration;

/// What a child takes at a time.
const STEP: usize = 4 << 20;
const PAGE: usize = 4096;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<usize>().ok());
    match (arguments.first().map(String::as_str), number(0), number(1)) {
        (Some("child"), _, Some(mebibytes)) => take(mebibytes << 20),
        (_, Some(children), Some(mebibytes)) => control(children, mebibytes),
        _ => Err(io::Error::other("say: backdoors-hog CHILDREN MEBIBYTES")),
    }
}

fn control(children: usize, mebibytes: usize) -> io::Result<()> {
    let start = || Command::new(std::env::current_exe()?).args(["child", &mebibytes.to_string()]).spawn();
    let mut running: Vec<Child> = (0..children).map(|_| start()).collect::<io::Result<_>>()?;
    loop {
        for child in &mut running {
            if child.try_wait()?.is_some() {
                *child = start()?;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn take(bytes: usize) -> io::Result<()> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        if held.len() * STEP < bytes {
            let mut step = vec![0; STEP];
            step.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            held.push(std::hint::black_box(step));
        } else {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

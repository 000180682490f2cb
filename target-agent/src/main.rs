//! The program `backdoors-agent`.

fn main() {}

//! Lanes against the loop that they replace: MD5, then SHA-512, of each block in turn, by OpenSSL
//! on one core. Rates are per second of the thread's CPU time. The same as `glissade bench lanes`.

use glissade::cli::bench::{LanesBench, Serial};

fn main() {
    let bench = LanesBench { streams: vec![1, 2, 4, 8, 16], json: false };
    print!("{}", bench.run(&Serial::of_this_host()));
}

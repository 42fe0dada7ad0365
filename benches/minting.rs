//! A leaf for a new name, one that is cached, and one P-256 signature, in the same process.
//!
//! The argument says how many rounds. The lines that begin with `@` are for `cargo xtask bench G7`.

use std::hint::black_box;
use std::time::Instant;

use httpjail::minting::Minting;
use httpjail::net::Host;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

/// New names in a round.
const NAMES: usize = 2_000;
/// Names that are asked for again, and how often in a round.
const KNOWN: usize = 64;
const HITS: usize = 200_000;

/// Nanoseconds of each.
fn each(times: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / times as f64
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(5);
    let ours = Minting::with_new_authority();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).expect("a key");
    // About as long as what is signed of a leaf.
    let message = [7; 400];
    for round in 0..rounds {
        let names: Vec<String> = (0..NAMES).map(|name| format!("h{name}.r{round}.example.com")).collect();
        let hosts: Vec<Host> = names.iter().map(|name| Host::parse(name).expect("a host")).collect();
        let signature = each(NAMES, || {
            for _ in 0..NAMES {
                black_box(key.sign(&random, black_box(&message)).expect("a signature"));
            }
        });
        println!("@signature;P-256 signature;{signature:.1}");
        let new = each(NAMES, || {
            for host in &hosts {
                black_box(ours.config_for(black_box(host)));
            }
        });
        println!("@new;httpjail;{new:.1}");
        let known = &hosts[NAMES - KNOWN..];
        let hit = each(HITS, || {
            for turn in 0..HITS {
                black_box(ours.config_for(black_box(&known[turn % KNOWN])));
            }
        });
        println!("@hit;httpjail;{hit:.1}");
    }
}

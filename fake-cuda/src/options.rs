//! How the library behaves, from the environment.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

pub struct Options {
    pub log: Option<PathBuf>,
    pub devices: i32,
    pub capability: (i32, i32),
    pub shared: i32,
    pub driver: i32,
    pub memory: usize,
    pub init: u32,
    pub context: u32,
    pub load: Option<(u32, String)>,
    pub fault: Option<(usize, u32)>,
}

impl Options {
    pub fn read() -> Options {
        Options {
            log: env::var_os("FAKE_CUDA_LOG").map(PathBuf::from),
            devices: number("FAKE_CUDA_DEVICES", 1),
            capability: pair("FAKE_CUDA_CAPABILITY", '.').unwrap_or((9, 0)),
            shared: number("FAKE_CUDA_SHARED", 232_448),
            driver: number("FAKE_CUDA_DRIVER", 13_000),
            memory: number("FAKE_CUDA_MEMORY", 16 << 30),
            init: number("FAKE_CUDA_INIT", 0),
            context: number("FAKE_CUDA_CONTEXT", 0),
            load: pair("FAKE_CUDA_LOAD", ':'),
            fault: pair("FAKE_CUDA_FAULT", ':'),
        }
    }
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

fn pair<A: FromStr, B: FromStr>(name: &str, between: char) -> Option<(A, B)> {
    let value = env::var(name).ok()?;
    let (a, b) = value.split_once(between).unwrap_or_else(|| panic!("{name}={value}"));
    Some((a.parse().ok()?, b.parse().ok()?))
}

//! Runs a shell command in a fresh copy: `cargo run -p natrig-vmm --example guest_sh 'ip addr'`.

#[path = "../tests/support/mod.rs"]
mod support;

fn main() {
    let script = std::env::args().nth(1).unwrap_or_else(|| "uname -a".to_owned());
    let machine = support::machine(&support::template(), "guest");
    let output = support::run(&machine, &["sh", "-c", &script]);
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", output.status);
}

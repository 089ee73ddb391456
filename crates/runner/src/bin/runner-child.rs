//! The smallest program that can be the confined child of a test's runner.

fn main() {
    sandbox::run_if_child();
}

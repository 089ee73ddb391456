//! The smallest program that can be the sandbox's child.

fn main() {
    sandbox::run_if_child();
}

//! What cargo 1.95 really wrote, read by the rules of evidence.

use run_model::evidence::{canonical_tail, parse_cargo_test};

fn read(stdout: &str, stderr: &str) -> String {
    let parsed = parse_cargo_test(stdout, stderr);
    let tests = parsed.tests.iter().map(|test| format!("{:?} {}\n", test.outcome, test.name));
    format!("doubt: {:?}\n{}", parsed.doubt, tests.collect::<String>())
}

macro_rules! golden {
    ($name:ident) => {
        #[test]
        fn $name() {
            let stdout = include_str!(concat!("cargo_test/", stringify!($name), ".stdout.txt"));
            let stderr = include_str!(concat!("cargo_test/", stringify!($name), ".stderr.txt"));
            let roots = [("/home/ann/projects".to_owned(), "<root>".to_owned())];
            let tail = canonical_tail(&format!("{stderr}{stdout}"), &roots);
            insta::assert_snapshot!(format!("{}\n{tail}", read(stdout, stderr)));
        }
    };
}

golden!(failures);
golden!(workspace);
golden!(abort);
golden!(compile_error);

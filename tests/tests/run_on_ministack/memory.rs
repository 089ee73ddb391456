//! What the programs take of the memory that they are declared with, as MiniStack does not hold them to it.

use std::fmt::Write;

use forge::testing::FakeGitHub;
use tests::{Provider, World};

use crate::stage::{Stage, commit, request, script};

/// The repository's size, in files of a quarter of a MiB.
const FILES: u32 = 32;
const WORDS: u32 = (256 << 10) / 9;

/// Text that hardly compresses, another one for each number.
fn text(number: u32) -> String {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9E37_79B9);
    let mut text = String::new();
    for word in 0..WORDS {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let end = if word % 8 == 7 { '\n' } else { ' ' };
        write!(text, "{state:08x}{end}").unwrap();
    }
    text
}

/// Snapshot, unpacking in each role, publication and merge of a repository of eight MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_some_mebibytes_fits_into_every_functions_memory() {
    let provider = Provider::playing(&script());
    let files: Vec<(String, String)> = (0..FILES).map(|number| (format!("data/{number}.txt"), text(number))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let (world, github) = (World::with(&files), FakeGitHub::start().await);
    world.git(&["push", "--quiet", github.git_dir().to_str().unwrap(), "main"]);
    commit(&github, "main", &provider, "");
    let stage = Stage::over(github, &[]).await;
    let run = stage.ask(&request()).await;
    stage.approved(&run).await;
    stage.deployed.expect_enough_memory();
}

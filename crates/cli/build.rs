//! Packs `demo/` into one archive for the program to carry.

use std::env;
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=demo");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no manifest folder")?).join("demo");
    let archive = PathBuf::from(env::var_os("OUT_DIR").ok_or("no output folder")?).join("demo.tar");
    let mut archive = tar::Builder::new(File::create(archive)?);
    archive.mode(tar::HeaderMode::Deterministic);
    archive.append_dir_all(".", folder)?;
    archive.finish()?;
    Ok(())
}

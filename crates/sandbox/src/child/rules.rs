//! Landlock's rules: which files may be read, which written, and nobody outside may be signalled.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, LandlockStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    Scope, path_beneath_rules,
};

use crate::spec::{Confinement, Spec};
use crate::view::{Access, DEVICES};

/// The newest interface whose rights were looked at; an older kernel enforces what it knows.
const KNOWN: ABI = ABI::V9;

/// Restricts the calling process for good and tells the ABI that the kernel has (0: none).
pub(super) fn restrict(spec: &Spec) -> Result<i32, RulesetError> {
    let (read, write) = paths(spec);
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(KNOWN)))?
        .add_rules(path_beneath_rules(write, AccessFs::from_all(KNOWN)))?
        .restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}

/// What may be read and what may be written. In a view of its own everything may be read.
fn paths(spec: &Spec) -> (Vec<&Path>, Vec<&Path>) {
    let mut write: Vec<&Path> = spec.view.workspace.as_deref().into_iter().collect();
    if spec.confinement == Confinement::Full {
        write.extend(["/tmp", "/dev"].map(Path::new));
        return (vec![Path::new("/")], write);
    }
    write.extend(DEVICES.map(Path::new));
    let read = spec.view.binds.values().filter(|bind| bind.access == Access::Read).map(|bind| bind.source.as_path());
    (read.collect(), write)
}

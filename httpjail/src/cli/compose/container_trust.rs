//! Whom running processes are made to trust: what is laid over their bundles and the stores of their JVMs.

use std::path::Path;

use crate::jail::attach::Overlay;
use crate::tls::trust;

/// Looks at the root of the calling process, which is in the mount namespace of those processes: what is there is merged with the
/// authority, and laid over what is there.
pub(crate) fn look(authority: &str) -> [Overlay; 2] {
    let root = Path::new("/");
    let covers = trust::existing_paths(root);
    let bundle = trust::bundle(authority, &covers);
    let stores = trust::java_stores(root, Path::new("/root"), None, None);
    [
        Overlay {
            content: if stores.is_empty() {
                Vec::new()
            } else {
                trust::java_keystore(&bundle.pem)
            },
            covers: stores,
        },
        Overlay {
            content: bundle.pem,
            covers,
        },
    ]
}

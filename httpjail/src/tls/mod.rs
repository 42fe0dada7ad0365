//! Trust: our authority, the leaves it signs, the roots we verify upstreams against, the bundle the child sees.

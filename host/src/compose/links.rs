//! Links into the Velociraptor GUI, exactly as VQL `link_to()` builds them.

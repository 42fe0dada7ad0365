//! stub
pub mod cgroup {
    //! stub
    /// stub
    pub fn remove_leftovers() -> Vec<String> {
        Vec::new()
    }
}

//! What runs have counted, as Prometheus reads it (text format 0.0.4, whose `Content-Type` is `text/plain; version=0.0.4`).
//!
//! Each run has a fixed number of series, whatever its clients do: methods, statuses and refusals are counted by class. Labels of a
//! run are on `httpjail_run_info` alone, which is joined by `name`.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::protocol::Counted;

/// Returns the text of all of them. `silent`: how many runs did not answer.
///
/// # Errors
/// None that writing to a string could have.
pub(crate) fn text(runs: Vec<Counted>, silent: usize) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("httpjail");
    registry.register_collector(Box::new(Runs {
        runs: Arc::from(runs),
        silent,
    }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Runs {
    runs: Arc<[Counted]>,
    silent: usize,
}

/// Labels of one series.
struct Labels<'a>(Vec<(&'a str, &'a str)>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|label| {
            use prometheus_client::encoding::EncodeLabel as _;
            label.encode(encoder.encode_label())
        })
    }
}

/// A metric's name, and what it is.
type Head<'a> = (&'a str, &'a str);

/// The number of a run.
type Value<T> = fn(&Counted) -> T;

/// What is written for each run, under one name.
type Series<'a> = dyn Fn(&Counted, &mut MetricEncoder<'_>) -> Result<(), fmt::Error> + 'a;

impl Collector for Runs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let out = &mut encoder;
        let silent = ConstGauge::new(u64::try_from(self.silent).unwrap_or(u64::MAX));
        let about = "Runs that have a control socket and do not answer";
        silent.encode(out.encode_descriptor("silent_runs", about, None, MetricType::Gauge)?)?;
        self.info(out)?;
        self.requests(out)?;
        self.refusals(out)?;
        self.latency(out)?;
        self.counters(out)?;
        self.gauges(out)
    }
}

impl Runs {
    /// Writes a family: its head, and the series of each run.
    fn family(
        &self,
        out: &mut DescriptorEncoder<'_>,
        (name, about): Head<'_>,
        (kind, unit): (MetricType, Option<&Unit>),
        series: &Series<'_>,
    ) -> Result<(), fmt::Error> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let mut metric = out.encode_descriptor(name, about, unit, kind)?;
        self.runs.iter().try_for_each(|run| series(run, &mut metric))
    }

    fn info(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let head = ("run_info", "What a run is: join by name");
        self.family(out, head, (MetricType::Gauge, None), &|run, metric| {
            let about = &run.status.run;
            let keys: Vec<String> = about.labels.keys().map(|key| label_name(key)).collect();
            let mut labels = vec![
                ("name", about.name.as_str()),
                ("kind", about.kind.name()),
                ("mode", about.mode.as_str()),
                ("backend", about.backend.as_deref().unwrap_or_default()),
                ("sha256", run.status.policy.in_force.sha256.as_str()),
            ];
            for (key, value) in keys.iter().zip(about.labels.values()) {
                // Two keys may be one as Prometheus spells them.
                if labels.iter().all(|(known, _)| *known != key.as_str()) {
                    labels.push((key.as_str(), value.as_str()));
                }
            }
            ConstGauge::new(1u64).encode(metric.encode_family(&Labels(labels))?)
        })
    }

    fn requests(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let head = (
            "requests",
            "Requests that have ended, by verdict, method and class of the answer's status",
        );
        self.family(out, head, (MetricType::Counter, None), &|run, metric| {
            run.counts.requests.iter().try_for_each(|some| {
                let labels = Labels(vec![
                    ("name", run.status.run.name.as_str()),
                    ("verdict", some.verdict.as_str()),
                    ("method", some.method.as_str()),
                    ("status", some.status.as_str()),
                ]);
                ConstCounter::new(some.count).encode(metric.encode_family(&labels)?)
            })
        })
    }

    fn refusals(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let head = ("refused", "Requests and connections that were refused, by class");
        self.family(out, head, (MetricType::Counter, None), &|run, metric| {
            run.counts.refused.iter().try_for_each(|(class, count)| {
                let labels = Labels(vec![("name", run.status.run.name.as_str()), ("class", class.as_str())]);
                ConstCounter::new(*count).encode(metric.encode_family(&labels)?)
            })
        })
    }

    fn latency(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let head = ("answer", "From a request's head to the head of the server's answer");
        self.family(
            out,
            head,
            (MetricType::Histogram, Some(&Unit::Seconds)),
            &|run, metric| {
                let latency = &run.counts.latency;
                let bounds = latency.bounds.iter().copied().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(latency.counts.iter().copied()).collect();
                let count = latency.counts.iter().sum();
                let labels = name_of(run);
                let mut series = metric.encode_family(&labels)?;
                series.encode_histogram::<NoLabelSet>(latency.sum, count, &buckets, None)
            },
        )
    }

    fn counters(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let families: [(Head<'_>, Value<u64>); 5] = [
            (("request_bytes", "Body bytes of ended requests, to servers"), |run| {
                run.counts.bytes_in
            }),
            (("response_bytes", "Body bytes of ended requests, to clients"), |run| {
                run.counts.bytes_out
            }),
            (("upstreams_dialed", "Connections to servers that were dialed"), |run| {
                run.counts.upstreams_dialed
            }),
            (("policy_reloads", "How often the policy was replaced"), |run| {
                run.status.policy.reloads
            }),
            (
                ("policy_reload_failures", "How often a new policy was not taken"),
                |run| run.status.policy.failures,
            ),
        ];
        families.into_iter().try_for_each(|(head, value)| {
            self.family(out, head, (MetricType::Counter, None), &|run, metric| {
                ConstCounter::new(value(run)).encode(metric.encode_family(&name_of(run))?)
            })
        })
    }

    fn gauges(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let families: [(Head<'_>, Value<f64>); 6] = [
            (("clients", "Client connections now"), |run| run.counts.clients as f64),
            (("upstreams", "Connections to servers now"), |run| {
                run.counts.upstreams as f64
            }),
            (("policy_rules", "Rules in force"), |run| {
                run.status.policy.in_force.rules as f64
            }),
            (
                ("policy_stale", "1 while the latest policy file was not taken"),
                |run| f64::from(u8::from(run.status.policy.failure.is_some())),
            ),
            (
                ("policy_loaded_timestamp_seconds", "Since when the policy is in force"),
                |run| seconds(&run.status.policy.in_force.loaded),
            ),
            (("started_timestamp_seconds", "When the run began"), |run| {
                seconds(&run.status.run.started)
            }),
        ];
        families.into_iter().try_for_each(|(head, value)| {
            self.family(out, head, (MetricType::Gauge, None), &|run, metric| {
                ConstGauge::new(value(run)).encode(metric.encode_family(&name_of(run))?)
            })
        })
    }
}

fn name_of(run: &Counted) -> Labels<'_> {
    Labels(vec![("name", run.status.run.name.as_str())])
}

/// A label's key as Prometheus takes one.
fn label_name(key: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
    std::iter::once("label_")
        .flat_map(str::chars)
        .chain(key.chars().map(plain))
        .collect()
}

fn seconds(time: &str) -> f64 {
    time.parse::<Timestamp>()
        .map_or(0.0, |time| time.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{Kind, Loaded, Policy, Run, Status};
    use crate::counts::{Counts, Latency, Requests};

    fn run(name: &str, labels: &[(&str, &str)]) -> Counted {
        Counted {
            status: Status {
                run: Run {
                    name: name.into(),
                    labels: labels
                        .iter()
                        .map(|(key, value)| ((*key).into(), (*value).into()))
                        .collect(),
                    kind: Kind::Attach,
                    pid: 7,
                    started: "2026-01-02T03:04:05.500Z".into(),
                    session: "s".into(),
                    backend: Some("ebpf".into()),
                    mode: "enforce".into(),
                    holds: "/c".into(),
                },
                policy: Policy {
                    file: None,
                    in_force: Loaded {
                        rules: 3,
                        sha256: "abc".into(),
                        loaded: "1970-01-01T00:00:01Z".into(),
                    },
                    reloads: 2,
                    failures: 1,
                    failure: None,
                },
            },
            counts: Counts {
                requests: vec![Requests {
                    verdict: "allow".into(),
                    method: "GET".into(),
                    status: "2xx".into(),
                    count: 5,
                }],
                refused: [("denied".to_owned(), 4)].into(),
                latency: Latency {
                    bounds: vec![0.001, 1.0],
                    counts: vec![1, 2, 3],
                    sum: 4.5,
                },
                bytes_in: 6,
                bytes_out: 7,
                clients: 8,
                upstreams: 9,
                upstreams_dialed: 10,
            },
        }
    }

    #[test]
    fn each_run_has_its_series() {
        let text = text(vec![run("a", &[]), run("b", &[])], 1).expect("a text");
        for line in [
            "# TYPE httpjail_requests_total counter",
            "httpjail_silent_runs 1",
            r#"httpjail_requests_total{name="a",verdict="allow",method="GET",status="2xx"} 5"#,
            r#"httpjail_requests_total{name="b",verdict="allow",method="GET",status="2xx"} 5"#,
            r#"httpjail_refused_total{name="a",class="denied"} 4"#,
            "# TYPE httpjail_answer_seconds histogram",
            r#"httpjail_answer_seconds_bucket{name="a",le="0.001"} 1"#,
            r#"httpjail_answer_seconds_bucket{name="a",le="1"} 3"#,
            r#"httpjail_answer_seconds_bucket{name="a",le="+Inf"} 6"#,
            r#"httpjail_answer_seconds_count{name="a"} 6"#,
            r#"httpjail_answer_seconds_sum{name="a"} 4.5"#,
            r#"httpjail_request_bytes_total{name="a"} 6"#,
            r#"httpjail_response_bytes_total{name="a"} 7"#,
            r#"httpjail_clients{name="a"} 8.0"#,
            r#"httpjail_upstreams{name="a"} 9.0"#,
            r#"httpjail_upstreams_dialed_total{name="a"} 10"#,
            r#"httpjail_policy_rules{name="a"} 3.0"#,
            r#"httpjail_policy_reloads_total{name="a"} 2"#,
            r#"httpjail_policy_reload_failures_total{name="a"} 1"#,
            r#"httpjail_policy_loaded_timestamp_seconds{name="a"} 1.0"#,
            r#"httpjail_started_timestamp_seconds{name="a"} 1767323045.5"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
        }
        // A family has one head.
        assert_eq!(text.matches("# TYPE httpjail_requests_total").count(), 1);
    }

    #[test]
    fn labels_are_spelled_as_prometheus_takes_them() {
        let labels = [
            ("kubernetes.io/pod", "we\"b\\1"),
            ("kubernetes_io/pod", "other"),
            ("name", "x"),
        ];
        let text = text(vec![run("a", &labels)], 0).expect("a text");
        let info = text
            .lines()
            .find(|line| line.starts_with("httpjail_run_info{"))
            .expect("an info");
        assert_eq!(
            info,
            r#"httpjail_run_info{name="a",kind="attach",mode="enforce",backend="ebpf",sha256="abc",label_kubernetes_io_pod="we\"b\\1",label_name="x"} 1"#
        );
    }

    #[test]
    fn without_runs_there_is_a_text_too() {
        let text = text(Vec::new(), 0).expect("a text");
        assert!(
            text.contains("httpjail_silent_runs 0") && !text.contains("requests"),
            "{text}"
        );
    }
}

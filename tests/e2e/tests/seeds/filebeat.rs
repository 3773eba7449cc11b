//! "kubernetes - day15": filebeat in kube-system, a fourth node, an update that hangs, a way back, nodes with an SSD.

use crate::world::{LIMIT, World, like, rows};
use e2e::{Running, eventually};
use std::collections::BTreeSet;

const MANIFEST: &str = "\
# ds-filebeat-demo.yaml
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: filebeat-ds
  namespace: kube-system
  labels:
    app: filebeat-logging
spec:
  selector:
    matchLabels:
      name: filebeat
  template:
    metadata:
      labels:
        name: filebeat
    spec:
      containers:
      - name: filebeat
        image: docker.elastic.co/beats/filebeat:7.9.1
        resources:
          limits:
            memory: 300Mi
          requests:
            cpu: 500m
            memory: 300Mi
";

const DESCRIBED: &str = "\
Name:           filebeat-ds
Selector:       name=filebeat
Node-Selector:  <none>
Labels:         app=filebeat-logging
Annotations:    deprecated.daemonset.template.generation: 1
Desired Number of Nodes Scheduled: 3
Current Number of Nodes Scheduled: 3
Number of Nodes Scheduled with Up-to-date Pods: 3
Number of Nodes Scheduled with Available Pods: 3
Number of Nodes Misscheduled: 0
Pods Status:  3 Running / 0 Waiting / 0 Succeeded / 0 Failed
Pod Template:
  Labels:  name=filebeat
  Containers:
   filebeat:
    Image:      docker.elastic.co/beats/filebeat:7.9.1
    Port:       <none>
    Host Port:  <none>
    Limits:
      memory:  300Mi
    Requests:
      cpu:        500m
      memory:     300Mi
    Environment:  <none>
    Mounts:       <none>
  Volumes:        <none>
Events:
  Type    Reason            Age   From                  Message
  ----    ------            ----  ----                  -------
  Normal  SuccessfulCreate  *     daemonset-controller  Created pod: *
  Normal  SuccessfulCreate  *     daemonset-controller  Created pod: *
  Normal  SuccessfulCreate  *     daemonset-controller  Created pod: *
";

const COLUMNS: &str = "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE";
const PLACES: &str = "kubectl get pods -n kube-system -l name=filebeat -o custom-columns=NAME:metadata.name,NODE:spec.nodeName";

pub fn seed(world: &World) {
    deploy(world);
    grow(world);
    update(world);
    roll_back(world);
    select_nodes(world);
    clean_up(world);
}

fn deploy(world: &World) {
    let (found, said) = world.says_and_warns("kubectl get ds -n kube-system -l name!=filebeat");
    assert_eq!((found.as_str(), said.as_str()), ("", "No resources found in kube-system namespace.\n"));
    world.apply("ds-filebeat-demo.yaml", MANIFEST, "daemonset.apps/filebeat-ds created");
    world.rolled_out("kube-system", "filebeat-ds");
    world.shows("kubectl describe ds filebeat-ds -n kube-system", DESCRIBED);
    // The DaemonSet itself has no label `name`, its pods have.
    let line = format!("{COLUMNS}\nfilebeat-ds 3 3 3 3 3 <none> *");
    world.shows("kubectl get ds -n kube-system -l name!=filebeat", &line);
    places(world, &["n1", "n2", "n3"]);
}

/// `gcloud container clusters resize … --num-nodes 4`.
fn grow(world: &World) {
    world.cluster.everynode(&["node", "add", "n4"]);
    world.runs_on("kube-system", "name=filebeat", &["n1", "n2", "n3", "n4"]);
    world.rolled_out("kube-system", "filebeat-ds");
    places(world, &["n1", "n2", "n3", "n4"]);
}

fn update(world: &World) {
    let explained = world.says("kubectl explain daemonSet.spec.updateStrategy");
    like(&explained, "KIND: DaemonSet\nVERSION: v1\nDESCRIPTION:\nFIELDS:").unwrap();
    for text in
        ["An update strategy to replace existing DaemonSet pods with new pods.", "rollingUpdate\t", "type\t"]
    {
        assert!(explained.contains(text), "{text:?} is not in\n{explained}");
    }

    // The article's watch begins with a pod whose image cannot be pulled.
    set_image(world, "6.8.12-missing");
    let pods = "kubectl get pods -n kube-system -l name=filebeat";
    let hanging = eventually("one pod hangs", LIMIT, || {
        let table = world.says(pods);
        like(&table, "NAME READY STATUS RESTARTS AGE")?;
        let with = |status: &str| rows(&table).into_iter().filter(|row| row[2] == status).collect::<Vec<_>>();
        let (running, hanging) = (with("Running"), with("ImagePullBackOff"));
        anyhow::ensure!((running.len(), hanging.len()) == (3, 1), "{table}");
        Ok(hanging[0][0].to_string())
    });
    let mut watch = world.watch(&format!("{pods} -w"));
    watch.line(LIMIT, |line| {
        line.starts_with(&hanging) && line.contains("0/1 ") && line.contains("ImagePullBackOff")
    });
    set_image(world, "6.8.12");
    watch.line(LIMIT, |line| line.starts_with(&hanging) && line.contains("Terminating"));
    let first = begins(&mut watch);
    watch.line(LIMIT, |line| line.starts_with(&first) && line.contains("ContainerCreating"));
    world.rolled_out("kube-system", "filebeat-ds");
    one_by_one(&mut watch);
    let described = world.says("kubectl describe -n kube-system daemonsets filebeat-ds");
    let events = format!(
        "Normal SuccessfulDelete * daemonset-controller Deleted pod: {hanging}\n\
         Normal SuccessfulCreate * daemonset-controller Created pod: {first}\n\
         Normal SuccessfulDelete * daemonset-controller Deleted pod: *\n\
         Normal SuccessfulCreate * daemonset-controller Created pod: *"
    );
    like(&described, &events).unwrap();
}

fn roll_back(world: &World) {
    let history = "daemonset.apps/filebeat-ds\nREVISION CHANGE-CAUSE\n1 <none>\n2 <none>\n3 <none>";
    like(&world.says("kubectl -n kube-system rollout history ds filebeat-ds"), history).unwrap();
    let undone = world.says("kubectl -n kube-system rollout undo ds filebeat-ds --to-revision=1");
    assert_eq!(undone, "daemonset.apps/filebeat-ds rolled back\n");
    world.rolled_out("kube-system", "filebeat-ds");
    let images = world.says(
        "kubectl get pods -n kube-system -l name=filebeat -o custom-columns=Name:metadata.name,Image:spec.containers[0].image",
    );
    let expected: String = ["* docker.elastic.co/beats/filebeat:7.9.1\n"; 4].concat();
    like(&images, &format!("Name Image\n{expected}")).unwrap();
}

fn select_nodes(world: &World) {
    let line = |node: &str| format!("{node} Ready <none> * v1.33.0+everynode.0.1.0\n");
    let nodes: String = ["n1", "n2", "n3", "n4"].map(line).concat();
    like(&world.says("kubectl get node"), &format!("NAME STATUS ROLES AGE VERSION\n{nodes}")).unwrap();
    assert_eq!(world.says("kubectl label node n1 disk=ssd"), "node/n1 labeled\n");
    assert_eq!(world.says("kubectl label node n3 disk=ssd"), "node/n3 labeled\n");
    let wide = format!(
        "{COLUMNS} CONTAINERS IMAGES SELECTOR\n\
         filebeat-ds 4 4 4 4 4 <none> * filebeat docker.elastic.co/beats/filebeat:7.9.1 name=filebeat"
    );
    world.shows("kubectl get ds -n kube-system filebeat-ds -o wide", &wide);

    let selecting = MANIFEST.replace(
        "    spec:\n      containers:",
        "    spec:\n      nodeSelector:\n        disk: ssd\n      containers:",
    );
    world.apply("ds-filebeat-demo.yaml", &selecting, "daemonset.apps/filebeat-ds configured");
    let mut watch = world.watch(&format!("{PLACES} -w"));
    world.runs_on("kube-system", "name=filebeat", &["n1", "n3"]);
    world.rolled_out("kube-system", "filebeat-ds");
    places(world, &["n1", "n3"]);
    watch.line(LIMIT, |line| line.split_whitespace().nth(1) == Some("n1"));
    let ssd = "NAME STATUS ROLES AGE VERSION DISK\nn1 Ready <none> * * ssd\nn3 Ready <none> * * ssd";
    let listed = world.says("kubectl get node -l disk=ssd -L disk");
    like(&listed, ssd).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let line = format!("{COLUMNS}\nfilebeat-ds 2 2 2 2 2 disk=ssd *");
    world.shows("kubectl get ds filebeat-ds -n kube-system", &line);
}

fn clean_up(world: &World) {
    world.end("kube-system", "filebeat-ds", "name=filebeat");
    world.says("kubectl label node n1 n3 disk-");
    world.cluster.everynode(&["node", "remove", "n4"]);
}

#[track_caller]
fn set_image(world: &World, tag: &str) {
    let image = format!("docker.elastic.co/beats/filebeat:{tag}");
    let said = world.says(&format!("kubectl -n kube-system set image ds filebeat-ds filebeat={image}"));
    assert_eq!(said, "daemonset.apps/filebeat-ds image updated\n");
}

/// The article's look at where pods are.
#[track_caller]
fn places(world: &World, nodes: &[&str]) {
    let table = world.says(PLACES);
    like(&table, "NAME NODE").unwrap();
    let mut found: Vec<&str> = rows(&table).iter().map(|row| row[1]).collect();
    found.sort_unstable();
    assert_eq!(found, nodes, "{table}");
}

/// The name of the next pod that is Pending.
fn begins(watch: &mut Running) -> String {
    let line = watch.line(LIMIT, |line| line.contains("Pending"));
    line.split_whitespace().next().unwrap_or_default().to_string()
}

/// No pod begins to go while one of the new ones is not ready yet.
#[track_caller]
fn one_by_one(watch: &mut Running) {
    let mut coming = None;
    let mut going = BTreeSet::new();
    let lines = watch.seen();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words[0], words[1], words[2]) {
            (name, _, "Pending" | "ContainerCreating") => coming = Some(name),
            (name, "1/1", "Running") if coming == Some(name) => coming = None,
            (name, _, "Terminating") if going.insert(name) => {
                assert_eq!(coming, None, "{name} goes\n{}", lines.join("\n"));
            }
            _ => {}
        }
    }
    assert_eq!(going.len(), 4, "{}", lines.join("\n"));
}

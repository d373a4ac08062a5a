output "heartbeat" {
  description = "Where monitoring hosts report that they live: region and namespace. Metric Heartbeat, dimension Region."
  value       = { region = data.aws_region.here.name, namespace = local.namespace }
}

output "topic_arn" {
  description = "Topic of the alarms."
  value       = aws_sns_topic.silence.arn
}

output "host" {
  description = "The host for the inventory, by name."
  value = {
    (local.host) = {
      address     = local.address
      zone        = local.zone
      instance_id = aws_instance.host.id
    }
  }
}

output "topic_arn" {
  description = "Topic of the alarms."
  value       = aws_sns_topic.alarms.arn
}

output "series_volume" {
  description = "Volume for Prometheus' series."
  value       = aws_ebs_volume.series.id
}

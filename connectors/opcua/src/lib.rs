//! To come.
use forebay_connector::*;
/// The protocol.
pub struct OpcUa;
#[async_trait::async_trait]
impl Protocol for OpcUa {
    fn name(&self) -> &'static str {
        "opcua"
    }
    fn options(&self) -> &'static [OptionKey] {
        &[]
    }
    fn check_address(&self, _: &str, _: DataType) -> Result<Address, AddressFault> {
        unimplemented!()
    }
    fn shift_address(&self, _: &str, _: u32) -> Result<String, AddressFault> {
        unimplemented!()
    }
    fn check_device(&self, _: &DeviceSpec) -> Vec<DeviceComplaint> {
        Vec::new()
    }
    fn open(&self, _: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        unimplemented!()
    }
    async fn simulate(&self, _: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        unimplemented!()
    }
}
